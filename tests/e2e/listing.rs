//! What can be read over the socket: jobs and queues page by page, and events as they happen.

use crate::api::{SLEEPERS, ask, connect, raw, running};
use crate::support::lines;
use serde_json::Value;
use std::io::{BufRead as _, BufReader, Write as _};

#[test]
fn jobs_and_queues_are_listed_over_http_page_by_page() {
    let (pipeline, running) = running(SLEEPERS);
    pipeline.sprag(&["pause", "fast"]);
    let count = 1_234_u64;
    pipeline.write("lines", &"null\n".repeat(usize::try_from(count).unwrap()));
    assert_eq!(pipeline.sprag(&["add", "fast", "--lines", "lines"]).code, Some(0));
    pipeline.sprag(&["add", "q", "--delay", "1h", "--priority", "-3"]);
    pipeline.sprag(&["cancel", "7"]);
    let list = |query: &str| {
        let request = format!("GET /v1/jobs{query} HTTP/1.0\r\nhost: s\r\n\r\n");
        let (code, body) = raw(&pipeline, request.as_bytes());
        assert_eq!(code, 200, "{body}");
        lines(&body)
    };
    let numbers = |jobs: Vec<Value>| jobs.iter().map(|job| job["job"].as_u64().unwrap()).collect::<Vec<_>>();
    assert_eq!(numbers(list("")), (1..=count + 1).collect::<Vec<_>>());
    assert_eq!(numbers(list("?limit=3&after=600&state=ready")), [601, 602, 603]);
    assert_eq!(numbers(list("?limit=700")).len(), 700);
    assert!(list("?limit=0").is_empty());
    assert_eq!(numbers(list("?state=cancelled&queue=fast")), [7]);
    let delayed = &list("?queue=q")[0];
    assert_eq!((&delayed["state"], &delayed["priority"]), (&"scheduled".into(), &(-3).into()), "{delayed}");
    assert!(delayed["due_at_ms"].as_u64() > Some(1_700_000_000_000), "{delayed}");

    let (_, told) = ask(&pipeline, "GET", "/v1/queues/fast", "");
    let expected = (&"fast".into(), &true.into(), &(count - 1).into(), &1.into());
    assert_eq!(
        (&told["name"], &told["paused"], &told["jobs"]["ready"], &told["jobs"]["cancelled"]),
        expected,
        "{told}"
    );
    let names: Vec<Value> = ask(&pipeline, "GET", "/v1/queues", "").1["queues"].as_array().unwrap().clone();
    assert_eq!(names.iter().map(|queue| queue["name"].as_str().unwrap()).collect::<Vec<_>>(), ["q", "fast", "bad"]);
    drop(running);
}

#[test]
fn events_are_told_as_they_become_durable_and_go_on_over_a_restart() {
    let (pipeline, mut running) = running("[queue.q]\ncommand = [\"echo\", \"7\"]\noutput = \"out/{key}\"\n");
    let listen = |query: &str| {
        let mut stream = connect(&pipeline);
        stream.write_all(format!("GET /v1/events{query} HTTP/1.0\r\nhost: s\r\n\r\n").as_bytes()).unwrap();
        BufReader::new(stream).lines().map(Result::unwrap).filter(|line| line.starts_with('{'))
    };
    let types = |mut listener: Box<dyn Iterator<Item = String>>, last: &str| {
        let (mut types, mut seq) = (Vec::new(), 0);
        while types.last().is_none_or(|kind: &String| kind != last) {
            let event: Value = serde_json::from_str(&listener.next().unwrap_or_else(|| panic!("{types:?}"))).unwrap();
            types.push(event["type"].as_str().unwrap().to_owned());
            assert_ne!(event["type"], "heartbeat", "{last} does not come: {types:?}");
            assert!(event["seq"].as_u64().unwrap() >= seq, "in order");
            seq = event["seq"].as_u64().unwrap();
        }
        (types, seq)
    };
    let listener = listen("");
    assert_eq!(pipeline.sprag(&["add", "q", "--key", "k", "--wait"]).code, Some(0));
    let (told, seq) = types(Box::new(listener), "published");
    assert_eq!(told, ["listening", "added", "started", "finished", "published"]);
    let (again, _) = types(Box::new(listen(&format!("?after={}", seq - 1))), "published");
    assert_eq!(again, ["listening", "published"]);
    // Who has heard everything goes on behind a restart as if there had been none.
    running = {
        drop(running);
        pipeline.start(&[])
    };
    drop(connect(&pipeline));
    let behind = listen(&format!("?after={seq}"));
    assert_eq!(pipeline.sprag(&["pause", "q"]).code, Some(0));
    assert_eq!(types(Box::new(behind), "paused").0, ["listening", "paused"]);
    assert_eq!(ask(&pipeline, "GET", "/v1/events?after=1", "").0, 410);
    drop(running);
}
