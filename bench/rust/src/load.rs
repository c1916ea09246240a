//! Loads a server, and counts.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::Checked;
use crate::client::Connection;

/// What the calls of a load have in common.
#[derive(Default)]
struct Tally {
    calls: AtomicUsize,
    measuring: AtomicBool,
    over: AtomicBool,
    /// Of a single call in flight, in microseconds.
    latencies: Mutex<Vec<f64>>,
}

/// Counts calls for a while. The load runs on while the count starts and ends.
pub async fn measured(connections: &[Connection]) -> Checked<Value> {
    let plan = connections[0].plan.clone();
    let tally = Arc::new(Tally::default());
    let mut workers = work(connections, &tally, usize::MAX);
    sleep(Duration::from_millis(plan.warm_up_ms)).await;
    println!(r#"{{"measuring":true}}"#);
    tally.measuring.store(true, Relaxed);
    let (start, before) = (Instant::now(), tally.calls.load(Relaxed));
    sleep(Duration::from_millis(plan.measure_ms)).await;
    let calls = tally.calls.load(Relaxed) - before;
    let seconds = start.elapsed().as_secs_f64();
    tally.over.store(true, Relaxed);
    finish(&mut workers).await?;
    let mut latencies = tally.latencies.lock().unwrap();
    latencies.sort_by(f64::total_cmp);
    let quantile = |q: f64| latencies.get((q * latencies.len() as f64) as usize);
    Ok(json!({
        "calls": calls,
        "seconds": seconds,
        "p50Us": quantile(0.5),
        "p99Us": quantile(0.99),
        "p999Us": quantile(0.999),
    }))
}

/// Makes a number of calls.
pub async fn counted(connections: &[Connection], limit: usize) -> Checked<Value> {
    let tally = Arc::new(Tally::default());
    finish(&mut work(connections, &tally, limit)).await?;
    Ok(json!({ "calls": tally.calls.load(Relaxed) }))
}

/// Keeps as many calls in flight as the plan says, on all connections.
fn work(connections: &[Connection], tally: &Arc<Tally>, limit: usize) -> JoinSet<Checked> {
    let mut workers = JoinSet::new();
    for i in 0..connections[0].plan.in_flight {
        let connection = connections[i % connections.len()].clone();
        let tally = tally.clone();
        workers.spawn(async move {
            let single = connection.plan.in_flight == 1 && connection.plan.kind == "unary";
            while !tally.over.load(Relaxed) && tally.calls.load(Relaxed) < limit {
                let before = Instant::now();
                connection
                    .call(|count| {
                        tally.calls.fetch_add(count, Relaxed);
                    })
                    .await?;
                if single && tally.measuring.load(Relaxed) {
                    let latency = before.elapsed().as_nanos() as f64 / 1e3;
                    tally.latencies.lock().unwrap().push(latency);
                }
            }
            Ok(())
        });
    }
    workers
}

async fn finish(workers: &mut JoinSet<Checked>) -> Checked {
    while let Some(result) = workers.join_next().await {
        result.map_err(|error| error.to_string())??;
    }
    Ok(())
}
