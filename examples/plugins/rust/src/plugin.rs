//! A small safe layer over the ABI: a subscriber is a type with the trait [`Subscriber`], and [`subscriber_table`] makes
//! the table of C functions that the host calls. No panic passes the border: each function catches its own.

use crate::abi::*;
use std::os::raw::c_void;
use std::panic::{catch_unwind, AssertUnwindSafe};

/// A kind of subscriber. The host calls all functions of an instance on one thread, one at a time; they may block, which
/// holds up this instance only.
pub trait Subscriber: Sized {
    /// What `plugin:` in a topology names.
    const KIND: &'static str;
    /// One line for people.
    const SUMMARY: &'static str;
    /// JSON Schema that the host checks configs with; it fills in the defaults.
    const CONFIG_SCHEMA: &'static str;
    /// On a reload the old instance ends before the new one is made; otherwise the new one is started beside it.
    const EXCLUSIVE: bool = false;

    /// Makes an instance from its config, canonical JSON. Neither opens nor connects nor starts anything.
    fn create(config: &str, host: Host) -> Result<Self, Error>;
    /// Opens and connects. May come again after it failed with [`Error::retryable`].
    fn start(&mut self) -> Result<(), Error>;
    /// Takes a batch. `Ok` acknowledges every message that was not settled, so it must be safe by then.
    fn deliver(&mut self, batch: &Batch) -> Result<(), Error>;
    /// Ends it. The host is not to be used any more after it.
    fn stop(&mut self) -> Result<(), Error>;
}

/// Why something could not be done, and what the host should do about it.
#[derive(Debug)]
pub struct Error {
    code: slu_rc,
    message: String,
}

impl Error {
    /// The config is wrong: trying again does not help.
    pub fn config(message: impl Into<String>) -> Error {
        Error { code: SLU_E_CONFIG, message: message.into() }
    }
    /// The world is at fault, and may recover.
    pub fn retryable(message: impl Into<String>) -> Error {
        Error { code: SLU_E_RETRYABLE, message: message.into() }
    }
    /// This instance is of no more use: the host makes a new one.
    pub fn fatal(message: impl Into<String>) -> Error {
        Error { code: SLU_E_FATAL, message: message.into() }
    }
}

/// The daemon, as one instance sees it. Usable from any thread between `create` and the return of `stop`.
#[derive(Clone, Copy)]
pub struct Host(*const slu_host);

// Safety: the table is immutable, and every function of it that is used here may be called from any thread.
unsafe impl Send for Host {}
unsafe impl Sync for Host {}

/// A counter on the daemon's metrics page.
#[derive(Clone, Copy)]
pub struct Counter(u64);

impl Host {
    fn table(&self) -> &slu_host {
        // Safety: valid from `create` until `destroy` is called, and a subscriber is dropped in `destroy`.
        unsafe { &*self.0 }
    }

    /// A directory that is this instance's alone and survives restarts.
    pub fn state_dir(&self) -> &str {
        // Safety: as the table; the host's texts are UTF-8.
        std::str::from_utf8(unsafe { self.table().state_dir.as_slice() }).unwrap_or("")
    }

    /// Writes a line to the daemon's log. `level`: SLU_LOG_*.
    pub fn log(&self, level: u32, message: &str) {
        let table = self.table();
        // Safety: nothing is kept after the return.
        unsafe { (table.log)(table.context, level, slu_bytes::of(message.as_bytes()), std::ptr::null(), 0) }
    }

    /// Sends one message to the dead letter stream, with a number and a reason.
    pub fn reject(&self, message: &Message, code: u32, reason: &str) {
        let table = self.table();
        let reason = slu_bytes::of(reason.as_bytes());
        let first_token = message.0.token;
        let item = slu_settlement { first_token, count: 1, verdict: SLU_REJECT, delay_ms: 0, code, reason };
        // Safety: the item and its reason are copied.
        unsafe { (table.settle)(table.context, &item, 1) };
    }

    /// Registers a counter, shown as `sluice_plugin_<name>_<unit>_total`.
    pub fn counter(&self, name: &str, unit: &str, help: &str) -> Counter {
        let table = self.table();
        let metric = slu_metric {
            struct_size: std::mem::size_of::<slu_metric>() as u32,
            kind: SLU_METRIC_COUNTER,
            name: slu_bytes::of(name.as_bytes()),
            unit: slu_bytes::of(unit.as_bytes()),
            help: slu_bytes::of(help.as_bytes()),
            labels: std::ptr::null(),
            bounds: std::ptr::null(),
            label_count: 0,
            bound_count: 0,
        };
        // Safety: all of the metric is copied.
        Counter(unsafe { (table.metric_register)(table.context, &metric) })
    }

    /// Adds to a counter.
    pub fn add(&self, counter: Counter, value: u64) {
        let table = self.table();
        // Safety: an id that the host does not know is harmless.
        unsafe { (table.metric_add)(table.context, counter.0, value as f64) }
    }
}

/// Messages of one stream, in the order of the log.
pub struct Batch<'a>(&'a slu_batch);

/// One message, in place.
pub struct Message<'a>(&'a slu_message);

impl<'a> Batch<'a> {
    /// The messages, one after the other.
    pub fn messages(&self) -> impl Iterator<Item = Message<'a>> {
        let batch = self.0;
        (0..batch.count as usize).map(move |index| {
            let first = batch.messages as *const u8;
            // Safety: the host has `count` of them, `message_stride` bytes apart: later versions have longer ones.
            Message(unsafe { &*(first.add(index * batch.message_stride as usize) as *const slu_message) })
        })
    }
}

impl<'a> Message<'a> {
    /// Any bytes, perhaps none.
    pub fn topic(&self) -> &'a [u8] {
        // Safety: valid until `deliver` returns, which the lifetime stands for.
        unsafe { self.0.topic.as_slice() }
    }

    /// Any bytes.
    pub fn payload(&self) -> &'a [u8] {
        // Safety: as the topic.
        unsafe { self.0.payload.as_slice() }
    }
}

// ---- The border ----

/// Runs `body`, and puts what it failed with, or the panic, into `error`.
///
/// # Safety
/// `error` is the host's, as the ABI demands.
unsafe fn guarded(error: *mut slu_error, body: impl FnOnce() -> Result<(), Error>) -> slu_rc {
    let (code, message) = match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(())) => return SLU_OK,
        Ok(Err(failure)) => (failure.code, failure.message),
        Err(panic) => {
            let text = panic.downcast_ref::<&str>().copied();
            let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no text");
            let message = format!("the plugin panicked: {}", text);
            // What a panic carries may panic itself when it is dropped.
            std::mem::forget(panic);
            (SLU_E_INTERNAL, message)
        }
    };
    let error = &mut *error;
    let mut length = message.len().min(error.message.len());
    while !message.is_char_boundary(length) {
        length -= 1;
    }
    error.message[..length].copy_from_slice(&message.as_bytes()[..length]);
    error.length = length as u64;
    code
}

unsafe extern "C" fn create<S: Subscriber>(
    _kind: *const slu_subscriber,
    host: *const slu_host,
    config: slu_bytes,
    instance: *mut *mut c_void,
    error: *mut slu_error,
) -> slu_rc {
    guarded(error, || {
        let config = std::str::from_utf8(config.as_slice()).map_err(|_| Error::config("the config is no UTF-8"))?;
        let made = Box::new(S::create(config, Host(host))?);
        *instance = Box::into_raw(made) as *mut c_void;
        Ok(())
    })
}

unsafe extern "C" fn start<S: Subscriber>(instance: *mut c_void, _deadline_ns: i64, error: *mut slu_error) -> slu_rc {
    guarded(error, || (*(instance as *mut S)).start())
}

unsafe extern "C" fn deliver<S: Subscriber>(
    instance: *mut c_void,
    batch: *const slu_batch,
    error: *mut slu_error,
) -> slu_rc {
    guarded(error, || (*(instance as *mut S)).deliver(&Batch(&*batch)))
}

unsafe extern "C" fn stop<S: Subscriber>(instance: *mut c_void, error: *mut slu_error) -> slu_rc {
    guarded(error, || (*(instance as *mut S)).stop())
}

unsafe extern "C" fn destroy<S: Subscriber>(instance: *mut c_void) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| drop(Box::from_raw(instance as *mut S)))) {
        std::mem::forget(panic);
    }
}

/// The table of a kind. What is `None` has a default: see `sluice/subscriber.h`.
pub const fn subscriber_table<S: Subscriber>() -> slu_subscriber {
    slu_subscriber {
        struct_size: std::mem::size_of::<slu_subscriber>() as u32,
        flags: if S::EXCLUSIVE { SLU_F_EXCLUSIVE } else { 0 },
        context: std::ptr::null(),
        kind: slu_bytes::of(S::KIND.as_bytes()),
        summary: slu_bytes::of(S::SUMMARY.as_bytes()),
        config_schema: slu_bytes::of(S::CONFIG_SCHEMA.as_bytes()),
        want_records: 0,
        want_bytes: 0,
        want_linger_ms: 0,
        max_inflight: 0,
        ack_deadline_ms: 0,
        output_count: 0,
        outputs: std::ptr::null(),
        validate: None,
        create: Some(create::<S>),
        start: Some(start::<S>),
        deliver: Some(deliver::<S>),
        gap: None,
        flush: None,
        drain: None,
        stop: Some(stop::<S>),
        destroy: Some(destroy::<S>),
        interrupt: None,
        reconfigure: None,
        get_extension: None,
    }
}

// Safety: the tables are immutable, and so is all that they point to.
unsafe impl Sync for slu_subscriber {}
unsafe impl Sync for slu_module {}

/// A plugin with one kind: what the entry function answers.
pub const fn module(
    name: &'static str,
    version: &'static str,
    kinds: &'static [&'static slu_subscriber],
) -> slu_module {
    slu_module {
        struct_size: std::mem::size_of::<slu_module>() as u32,
        abi_minor: SLU_ABI_MINOR,
        abi_minor_needed: 0,
        subscriber_count: kinds.len() as u32,
        name: slu_bytes::of(name.as_bytes()),
        version: slu_bytes::of(version.as_bytes()),
        vendor: slu_bytes::of(b""),
        runtime: slu_bytes::of(b""),
        // A reference is a pointer that is never null.
        subscribers: kinds.as_ptr() as *const *const slu_subscriber,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_an_error_with_its_text_and_a_long_one_is_cut_at_a_character() {
        // Safety: a slu_error is plain data, for which zero is a value.
        let mut error: slu_error = unsafe { std::mem::zeroed() };
        let code = unsafe { guarded(&mut error, || panic!("at {}", 7)) };
        assert_eq!(code, SLU_E_INTERNAL);
        assert_eq!(&error.message[..error.length as usize], b"the plugin panicked: at 7");
        let code = unsafe { guarded(&mut error, || Err(Error::retryable("\u{20AC}".repeat(200)))) };
        assert_eq!((code, error.length), (SLU_E_RETRYABLE, 486));
    }
}
