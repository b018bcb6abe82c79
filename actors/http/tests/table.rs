//! The table of routes (`mill_api::paths::ROUTES`) is what is served: all of it and nothing else.

use mill_api::paths::{ROUTES, fill};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use super::room::Room;
use super::world::World;

async fn answer(room: &Room, method: &str, path: &str) -> String {
    let mut stream = UnixStream::connect(room.socket()).await.unwrap();
    let head =
        format!("{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = vec![];
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn every_route_of_the_table_is_served() {
    let room = Room::new(World::new()).await;
    for route in ROUTES {
        let text = answer(&room, route.method, &fill(route.path, &["nothing", "nothing"])).await;
        assert!(text.starts_with("HTTP/1.1 "), "{route:?}: {text}");
        assert!(
            !text.starts_with("HTTP/1.1 405 ") && !text.contains("there is no route"),
            "{route:?}: {text}"
        );
    }
    let text = answer(&room, "GET", "/v1/statsu").await;
    assert!(text.contains("there is no route"), "what isn't served says so: {text}");
    let text = answer(&room, "DELETE", "/v1/status").await;
    assert!(text.starts_with("HTTP/1.1 405 ") && text.contains("doesn't take"), "{text}");
    assert!(text.contains("\r\nallow: GET, HEAD\r\n"), "another method says which it takes: {text}");
}

#[test]
fn every_route_that_is_served_is_in_the_table() {
    let routes = include_str!("../routes.rs");
    let lines = routes.lines().filter(|line| line.trim_start().starts_with(".route(paths::"));
    let methods = |line: &str| {
        ["get(", "post(", "put(", "delete("].iter().map(|method| line.matches(method).count()).sum::<usize>()
    };
    assert_eq!(lines.map(methods).sum::<usize>(), ROUTES.len());
}
