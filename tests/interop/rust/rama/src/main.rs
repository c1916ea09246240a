//! The rama peer of our tests: the crate `rama-ttrpc` as a server and as a client.

use std::process::ExitCode;

use cases::Peer;
use harness::Checked;
use protos::TestService;
use rama_ttrpc::{Client, ServerConnection};
use tokio::net::{UnixListener, UnixStream};

mod api;
#[path = "../../prost/cases.rs"]
mod cases;
mod defects;
mod service;

#[allow(dead_code, clippy::all)]
mod protos {
    include!(concat!(env!("OUT_DIR"), "/ttrpc.test.v1.rs"));
}

fn main() -> ExitCode {
    harness::main(serve, call)
}

// rama-ttrpc takes connections, and leaves sockets to its user.
fn path(address: &str) -> &str {
    address.trim_start_matches("unix://")
}

async fn serve(address: String, listening: fn(&str)) -> Checked {
    let listener = UnixListener::bind(path(&address)).map_err(|error| error.to_string())?;
    listening(&address);
    loop {
        let (connection, _) = listener.accept().await.map_err(|error| error.to_string())?;
        tokio::spawn(async move {
            let mut server = ServerConnection::new(connection);
            server.register(TestService(service::Tests));
            // How a connection ends is the other side's to tell.
            let _ = server.start().await;
        });
    }
}

async fn call(address: String, case: String) -> Checked {
    let connection = UnixStream::connect(path(&address)).await;
    let client = Client::new(connection.map_err(|error| error.to_string())?);
    let peer = Peer { client };
    match case.as_str() {
        "concurrent-lost" => peer.concurrent_lost().await,
        "count-while-calling" => peer.count_while_calling().await,
        _ => peer.run(&case).await,
    }
}
