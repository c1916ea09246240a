//! What both Rust peers share: the command line, the line of JSON for a case, and its checks.

use std::fmt::Debug;
use std::future::Future;
use std::process::{self, ExitCode};
use std::time::{Duration, Instant};
use std::{env, io, thread};

use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

const USAGE: &str = "usage:
  peer serve ADDRESS      serves until the end of stdin
  peer call ADDRESS CASE  runs a case against a server, and prints a line of JSON

ADDRESS is the path of a unix socket. PEER_THREADS is how many threads the runtime has; without
it, everything runs on one.";

/// Bounds a case that hangs. Nothing that works comes near to it.
const PATIENCE: Duration = Duration::from_secs(30);

/// The longest data of a frame, in bytes.
pub const MESSAGE_BYTES: usize = 4 << 20;

/// What a case comes to: an error says in words what is wrong.
pub type Checked<T = ()> = Result<T, String>;

/// Runs what the command line asks for. `serve` says through its argument that it listens.
pub fn main<Serve, Call>(
    serve: impl FnOnce(String, fn(&str)) -> Serve,
    call: impl FnOnce(String, String) -> Call,
) -> ExitCode
where
    Serve: Future<Output = Checked>,
    Call: Future<Output = Checked>,
{
    let args: Vec<String> = env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let result = match args[..] {
        ["serve", path] => {
            end_with_stdin();
            runtime().block_on(serve(format!("unix://{path}"), listening))
        }
        ["call", path, case] => {
            let run = call(format!("unix://{path}"), case.into());
            let result = runtime().block_on(async {
                let ended = timeout(PATIENCE, run).await;
                ended.unwrap_or_else(|_| Err(format!("there is no end to it after {PATIENCE:?}")))
            });
            println!("{}", line(case, result));
            Ok(())
        }
        _ => Err(USAGE.into()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn runtime() -> Runtime {
    let runtime = match env::var("PEER_THREADS") {
        Ok(threads) => {
            let threads = threads.parse().expect("PEER_THREADS is a number");
            Builder::new_multi_thread().worker_threads(threads).enable_all().build()
        }
        Err(_) => Builder::new_current_thread().enable_all().build(),
    };
    runtime.expect("a runtime is created")
}

// Whoever started this process may die without a word; its end of stdin goes with it.
fn end_with_stdin() {
    thread::spawn(|| {
        let _ = io::copy(&mut io::stdin(), &mut io::sink());
        process::exit(0);
    });
}

fn listening(address: &str) {
    println!("listening {}", address.trim_start_matches("unix://"));
}

fn line(case: &str, result: Checked) -> String {
    match result {
        Ok(()) => format!(r#"{{"case":{},"ok":true}}"#, json(case)),
        Err(error) => {
            format!(r#"{{"case":{},"ok":false,"error":{}}}"#, json(case), json(&error))
        }
    }
}

fn json(text: &str) -> String {
    let escape = |c: char| match c {
        '"' | '\\' => format!("\\{c}"),
        ..' ' => format!("\\u{:04x}", c as u32),
        _ => c.to_string(),
    };
    format!("\"{}\"", text.chars().map(escape).collect::<String>())
}

/// Checks that a value is what it should be.
pub fn equal<T: PartialEq + Debug>(what: &str, actual: T, expected: T) -> Checked {
    check(actual == expected, || format!("expected {what} to be {expected:?}, got {actual:?}"))
}

/// Checks that something holds.
pub fn check(holds: bool, otherwise: impl FnOnce() -> String) -> Checked {
    if holds { Ok(()) } else { Err(otherwise()) }
}

/// Checks that what should take a tenth of a second has not taken a minute.
pub fn prompt(start: Instant) -> Checked {
    let took = start.elapsed();
    check(took < Duration::from_secs(10), || format!("it took {took:?}"))
}

/// Finds how long a payload may be, so that the message around it is as long as is allowed.
pub fn fit(encoded_length: impl Fn(usize) -> usize) -> usize {
    let length = MESSAGE_BYTES - 200;
    length + MESSAGE_BYTES - encoded_length(length)
}
