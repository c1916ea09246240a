//! The ttrpc-rust peer of our tests: the crate `ttrpc` as a server and as a client.

use std::future::pending;
use std::process::ExitCode;

use harness::Checked;
use protos::test_ttrpc::TestServiceClient;
use ttrpc::r#async::{Client, Server};

mod calls;
mod service;
mod streams;

mod protos {
    include!(concat!(env!("OUT_DIR"), "/protos.rs"));
}

const SERVICE: &str = "ttrpc.test.v1.TestService";

fn main() -> ExitCode {
    harness::main(serve, call)
}

async fn serve(address: String, listening: fn(&str)) -> Checked {
    let server = Server::new().bind(&address).map_err(|error| error.to_string())?;
    let mut server = server.register_service(service::create());
    server.start().await.map_err(|error| error.to_string())?;
    listening(&address);
    pending().await
}

/// One connection to the server under test.
#[derive(Clone)]
struct Peer {
    client: Client,
    service: TestServiceClient,
}

async fn call(address: String, case: String) -> Checked {
    let client = Client::connect(&address).await.map_err(|error| error.to_string())?;
    let service = TestServiceClient::new(client.clone());
    let peer = Peer { client, service };
    match case.as_str() {
        "echo" => peer.echo().await,
        "metadata" => peer.metadata().await,
        "error-with-details" => peer.error_with_details().await,
        "odd-code" => peer.odd_code().await,
        "plain-error" => peer.plain_error().await,
        "deadline-told" => peer.deadline_told().await,
        "deadline-passes" => peer.deadline_passes().await,
        "deadline-by-server" => peer.deadline_by_server().await,
        "request-limit" => peer.request_limit().await,
        "reply-limit" => peer.reply_limit().await,
        "empty" => peer.empty().await,
        "unknown" => peer.unknown().await,
        "malformed-payload" => peer.malformed_payload().await,
        "concurrent" => peer.concurrent().await,
        "concurrent-swapped" => peer.concurrent_swapped().await,
        "give-up" => peer.give_up().await,
        "count" => peer.count().await,
        "sum" => peer.sum().await,
        "chat" => peer.chat().await,
        "chat-metadata" => peer.chat_metadata().await,
        "chat-limit" => peer.chat_limit().await,
        "stream-fails" => peer.stream_fails().await,
        "stream-give-up" => peer.stream_give_up().await,
        "stream-unknown" => peer.stream_unknown().await,
        "streams-concurrent" => peer.streams_concurrent().await,
        "count-many" => peer.count_many().await,
        "count-many-reordered" => peer.count_many_reordered().await,
        "sum-many" => peer.sum_many().await,
        "chat-many" => peer.chat_many().await,
        _ => Err("there is no such case".into()),
    }
}
