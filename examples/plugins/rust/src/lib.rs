//! The Sluice subscriber `topic-bytes`: counts records and bytes per topic, and keeps the totals in a file in its state
//! directory.
//!
//! Delivery is at least once: what was counted just before a crash may be counted again. Who can't have that keeps
//! (`log_uuid` of the batch, `lsn` of the message) of what is done beside the result.

mod abi;
mod plugin;
mod totals;

use abi::{slu_module, slu_subscriber, SLU_LOG_INFO};
use plugin::{module, subscriber_table, Batch, Counter, Error, Host, Subscriber};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use totals::{Refusal, Totals};

struct TopicBytesSubscriber {
    host: Host,
    path: PathBuf,
    counted: Counter,
    totals: Totals,
}

impl Subscriber for TopicBytesSubscriber {
    const KIND: &'static str = "topic-bytes";
    const SUMMARY: &'static str = "Counts records and bytes per topic.";
    const CONFIG_SCHEMA: &'static str = r#"{"type":"object","additionalProperties":false,"properties":{
        "file":{"type":"string","pattern":"^[A-Za-z0-9_-][A-Za-z0-9._-]*$","maxLength":100,"default":"topics.tsv",
        "description":"Name of the file with the totals, in the state directory."}}}"#;
    /// `start` reads what `deliver` of the instance before it writes: after a reload it must not read too early.
    const EXCLUSIVE: bool = true;

    fn create(config: &str, host: Host) -> Result<TopicBytesSubscriber, Error> {
        let file = config_string(config, "file").ok_or_else(|| Error::config("file: a string was expected"))?;
        let path = Path::new(host.state_dir()).join(file);
        let counted = host.counter("counted", "bytes", "Bytes of payload that were counted.");
        Ok(TopicBytesSubscriber { host, path, counted, totals: Totals::default() })
    }

    fn start(&mut self) -> Result<(), Error> {
        self.totals = match fs::read_to_string(&self.path) {
            Ok(text) => Totals::from_text(&text).ok_or_else(|| self.damaged())?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Totals::default(),
            Err(error) => return Err(self.failure("read", error)),
        };
        Ok(())
    }

    fn deliver(&mut self, batch: &Batch) -> Result<(), Error> {
        let mut next = self.totals.clone();
        let mut bytes = 0;
        for message in batch.messages() {
            let length = message.payload().len() as u64;
            match next.add(message.topic(), length) {
                Ok(()) => bytes += length,
                Err(Refusal::BadTopic) => {
                    let reason = "the topic is too long, is no UTF-8, or has a control character";
                    self.host.reject(&message, 1, reason);
                }
                Err(Refusal::TooManyTopics) => self.host.reject(&message, 2, "there are too many topics"),
            }
        }
        // What is answered with Ok must be on the disk.
        write_whole(&self.path, &next.text()).map_err(|error| self.failure("write", error))?;
        self.totals = next;
        self.host.add(self.counted, bytes);
        Ok(())
    }

    fn stop(&mut self) -> Result<(), Error> {
        self.host.log(SLU_LOG_INFO, &format!("{} topics", self.totals.count()));
        Ok(())
    }
}

impl TopicBytesSubscriber {
    fn failure(&self, action: &str, error: std::io::Error) -> Error {
        Error::retryable(format!("cannot {} {}: {}; it is tried again", action, self.path.display(), error))
    }

    fn damaged(&self) -> Error {
        Error::fatal(format!("{} is damaged: move it away to begin anew", self.path.display()))
    }
}

/// Writes a new file, syncs it, and puts it in the old one's place: whole at any time.
fn write_whole(path: &Path, text: &str) -> std::io::Result<()> {
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(".new");
    let mut file = fs::File::create(&fresh)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&fresh, path)
}

/// The string `name` of a flat config. Enough where the schema allows no escapes in it; for more than that take a crate.
fn config_string<'a>(config: &'a str, name: &str) -> Option<&'a str> {
    let key = format!("\"{}\":\"", name);
    let value = &config[config.find(&key)? + key.len()..];
    value.split('"').next()
}

static KIND: slu_subscriber = subscriber_table::<TopicBytesSubscriber>();
static KINDS: &[&slu_subscriber] = &[&KIND];
static MODULE: slu_module = module("topic-bytes", env!("CARGO_PKG_VERSION"), KINDS);

/// The one symbol that sluice looks for.
#[no_mangle]
pub extern "C" fn sluice_module_v1(_host_abi_minor: u32) -> *const slu_module {
    &MODULE
}
