//! The peer of our tests with ttrpc-rust's older half: the crate `ttrpc` without `async`, which
//! has threads instead, and unary calls only.

use std::future::pending;
use std::process::ExitCode;
use std::thread;

use harness::Checked;
use protos::test_ttrpc::TestServiceClient;
use tokio::sync::oneshot;
use ttrpc::{Client, Server};

mod calls;
mod service;

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
    server.start().map_err(|error| error.to_string())?;
    listening(&address);
    pending().await
}

/// One connection to the server under test.
#[derive(Clone)]
struct Peer {
    client: Client,
    service: TestServiceClient,
}

// On a thread of its own, so that the harness can give up on it.
async fn call(address: String, case: String) -> Checked {
    let (done, result) = oneshot::channel();
    thread::spawn(move || done.send(run(&address, &case)));
    result.await.unwrap_or_else(|_| Err("the case has panicked".into()))
}

fn run(address: &str, case: &str) -> Checked {
    let client = Client::connect(address).map_err(|error| error.to_string())?;
    let service = TestServiceClient::new(client.clone());
    let peer = Peer { client, service };
    match case {
        "echo" => peer.echo(),
        "metadata" => peer.metadata(),
        "error-with-details" => peer.error_with_details(),
        "odd-code" => peer.odd_code(),
        "plain-error" => peer.plain_error(),
        "deadline-told" => peer.deadline_told(),
        "deadline-passes" => peer.deadline_passes(),
        "request-limit" => peer.request_limit(),
        "reply-limit" => peer.reply_limit(),
        "empty" => peer.empty(),
        "unknown" => peer.unknown(),
        "malformed-payload" => peer.malformed_payload(),
        "concurrent" => peer.concurrent(),
        _ => Err("there is no such case".into()),
    }
}
