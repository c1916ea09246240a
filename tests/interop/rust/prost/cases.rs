//! The cases of the peers whose messages are prost's: trapeze, and rama, which comes from it. What
//! they call by other names, and do otherwise, is in the `api` of each.

use harness::Checked;

use crate::api::Client;

pub mod calls;
pub mod streams;

pub const SERVICE: &str = "ttrpc.test.v1.TestService";

/// One connection to the server under test.
pub struct Peer {
    pub client: Client,
}

impl Peer {
    pub async fn run(&self, case: &str) -> Checked {
        match case {
            "echo" => self.echo().await,
            "metadata" => self.metadata().await,
            "error-with-details" => self.error_with_details().await,
            "odd-code" => self.odd_code().await,
            "plain-error" => self.plain_error().await,
            "deadline-told" => self.deadline_told().await,
            "deadline-passes" => self.deadline_passes().await,
            "request-limit" => self.request_limit().await,
            "reply-limit" => self.reply_limit().await,
            "empty" => self.empty().await,
            "unknown" => self.unknown().await,
            "malformed-payload" => self.malformed_payload().await,
            "concurrent" => self.concurrent().await,
            "give-up" => self.give_up().await,
            "count" => self.count().await,
            "sum" => self.sum().await,
            "chat" => self.chat().await,
            "chat-metadata" => self.chat_metadata().await,
            "chat-limit" => self.chat_limit().await,
            "stream-deadline" => self.stream_deadline().await,
            "stream-fails" => self.stream_fails().await,
            "stream-fails-at-once" => self.stream_fails_at_once().await,
            "stream-give-up" => self.stream_give_up().await,
            "stream-unknown" => self.stream_unknown().await,
            "streams-concurrent" => self.streams_concurrent().await,
            "count-many" => self.count_many().await,
            "sum-many" => self.sum_many().await,
            "chat-many" => self.chat_many().await,
            _ => Err("there is no such case".into()),
        }
    }
}
