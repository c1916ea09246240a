//! Cases that show known defects of rama-ttrpc's client.

use std::time::Duration;

use harness::{Checked, check, equal};
use tokio::time::sleep;

use crate::api::{ClientExt as _, StreamExt as _};
use crate::cases::Peer;
use crate::cases::calls::{many_at_once, request, succeeded};
use crate::protos::{CountRequest, TestService as _};

impl Peer {
    // A known defect: an answer that is on its way to its call is dropped when anything else
    // happens meanwhile. On more than one thread it may have to wait on that way.
    pub async fn concurrent_lost(&self) -> Checked {
        let lost = many_at_once(&self.client.with_timeout(Duration::from_secs(2))).await?;
        check(lost < 1_000, || "no call got its answer".into())?;
        eprintln!("{lost} of 1000 answers were lost");
        self.alive().await
    }

    // A known defect: a message that waits for room, because nobody reads its stream, is dropped
    // when another call begins. Nothing tells when all buffers are full, so it has ever more time.
    pub async fn count_while_calling(&self) -> Checked {
        for milliseconds in [100, 1_000, 5_000] {
            let received = self.count_with_a_pause(Duration::from_millis(milliseconds)).await?;
            if received < 1_000 {
                eprintln!("{received} of 1000 messages came");
                return self.alive().await;
            }
        }
        Err("no message was lost".into())
    }

    /// Does not read a stream for a time, begins another call, and reads on.
    async fn count_with_a_pause(&self, pause: Duration) -> Checked<usize> {
        let mut responses = Box::pin(self.client.count(CountRequest { count: 1_000 }));
        let mut received = usize::from(responses.next().await.is_some());
        sleep(pause).await;
        let client = self.client.clone();
        let other = tokio::spawn(async move { client.echo(request("other")).await });
        sleep(pause).await;
        while let Some(response) = responses.next().await {
            succeeded(response)?;
            received += 1;
        }
        let other = other.await.map_err(|error| error.to_string())?;
        equal("text", succeeded(other)?.text.as_str(), "other")?;
        Ok(received)
    }
}
