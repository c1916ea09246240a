//! ttrpc-rust, for comparison: both peers of the benchmark, in the words of ../peers/peer.ts.

use std::io::{self, BufRead};
use std::process::ExitCode;
use std::{env, thread};

use protobuf::Message;
use serde_json::Value;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use crate::protos::bench::CreateTaskRequest;

mod client;
mod load;
mod server;

mod protos {
    include!(concat!(env!("OUT_DIR"), "/protos.rs"));
}

/// An error says in words what is wrong.
pub type Checked<T = ()> = Result<T, String>;

/// What a peer is told.
pub struct Plan {
    pub kind: String,
    pub bytes: usize,
    pub realistic: bool,
    pub in_flight: usize,
    pub connections: usize,
    pub warm_up_ms: u64,
    pub measure_ms: u64,
    pub per_stream: usize,
    pub message: CreateTaskRequest,
}

impl Plan {
    fn parse(json: &str) -> Checked<Plan> {
        let plan: Value = serde_json::from_str(json).map_err(|error| error.to_string())?;
        let number = |name: &str| plan[name].as_u64().ok_or(format!("there is no {name}"));
        let text = |name: &str| plan[name].as_str().ok_or(format!("there is no {name}"));
        Ok(Plan {
            kind: text("kind")?.into(),
            bytes: number("bytes")? as usize,
            realistic: plan["realistic"] == true,
            in_flight: number("inFlight")? as usize,
            connections: number("connections")? as usize,
            warm_up_ms: number("warmUpMs")?,
            measure_ms: number("measureMs")?,
            per_stream: number("perStream")? as usize,
            message: CreateTaskRequest::parse_from_bytes(&unhex(text("message")?)?)
                .map_err(|error| error.to_string())?,
        })
    }
}

fn unhex(text: &str) -> Checked<Vec<u8>> {
    let digits = (0..text.len()).step_by(2);
    let bytes = digits.map(|at| u8::from_str_radix(&text[at..at + 2], 16));
    bytes.collect::<Result<_, _>>().map_err(|error| error.to_string())
}

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &[&str]) -> Checked {
    match args {
        ["version"] => {
            println!("ttrpc 0.9.0, async");
            Ok(())
        }
        ["server", path, plan] => {
            let plan = Plan::parse(plan)?;
            runtime(&plan).block_on(server::serve(format!("unix://{path}"), commands()))
        }
        ["client", path, plan] => {
            let plan = Plan::parse(plan)?;
            runtime(&plan).block_on(client::call(format!("unix://{path}"), plan, commands()))
        }
        _ => Err("usage: server|client PATH PLAN, or version".into()),
    }
}

// On more than one thread the messages of a stream overtake each other, and those that the end
// overtakes are lost.
fn runtime(plan: &Plan) -> Runtime {
    let runtime = if plan.kind == "unary" {
        Builder::new_multi_thread().enable_all().build()
    } else {
        Builder::new_current_thread().enable_all().build()
    };
    runtime.expect("a runtime is created")
}

/// The lines of the standard input.
fn commands() -> UnboundedReceiver<String> {
    let (sender, receiver) = unbounded_channel();
    thread::spawn(move || {
        for line in io::stdin().lock().lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}
