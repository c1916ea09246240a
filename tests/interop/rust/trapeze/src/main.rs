//! The trapeze peer of our tests: the crate `trapeze` as a server and as a client.

use std::future::pending;
use std::process::ExitCode;

use cases::Peer;
use harness::Checked;
use protos::TestService;
use trapeze::{Client, Server};

mod api;
#[path = "../../prost/cases.rs"]
mod cases;
mod service;

#[allow(dead_code, clippy::all)]
mod protos {
    include!(concat!(env!("OUT_DIR"), "/ttrpc.test.v1.rs"));
}

fn main() -> ExitCode {
    harness::main(serve, call)
}

async fn serve(address: String, listening: fn(&str)) -> Checked {
    let server = Server::new().register(TestService(service::Tests));
    let _server = server.bind(&address).await.map_err(|error| error.to_string())?;
    listening(&address);
    pending().await
}

async fn call(address: String, case: String) -> Checked {
    let client = Client::connect(&address).await.map_err(|error| error.to_string())?;
    let peer = Peer { client };
    peer.run(&case).await
}
