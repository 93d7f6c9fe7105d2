//! Sluice's plugin ABI, version 1.0, as `sluice/*.h` declares it. A test holds the layouts against `abi-layout.txt`,
//! which is the headers' own. The headers say what each function does, when it is called and on which thread.
#![allow(non_camel_case_types, dead_code)]

use std::os::raw::c_void;

pub type slu_rc = i32;

pub const SLU_ABI_MINOR: u32 = 0;

pub const SLU_OK: slu_rc = 0;
pub const SLU_ACCEPTED: slu_rc = 1;
pub const SLU_BUSY: slu_rc = 2;
pub const SLU_E_CONFIG: slu_rc = -1;
pub const SLU_E_RETRYABLE: slu_rc = -2;
pub const SLU_E_FATAL: slu_rc = -3;
pub const SLU_E_TIMEOUT: slu_rc = -4;
pub const SLU_E_INTERNAL: slu_rc = -5;

pub const SLU_F_EXCLUSIVE: u32 = 1;

pub const SLU_ACK: u32 = 1;
pub const SLU_RETRY: u32 = 2;
pub const SLU_REJECT: u32 = 3;

pub const SLU_LOG_INFO: u32 = 2;
pub const SLU_LOG_WARNING: u32 = 4;
pub const SLU_LOG_ERROR: u32 = 5;

pub const SLU_METRIC_COUNTER: u32 = 1;

/// Declares structs as C lays them out, asserts their sizes, and lists their fields for the test.
macro_rules! abi_structs {
    ($($name:ident: $size:literal { $($field:ident: $type:ty,)* })*) => {
        $(
            #[repr(C)]
            #[derive(Clone, Copy)]
            pub struct $name { $(pub $field: $type,)* }
            const _: () = assert!(std::mem::size_of::<$name>() == $size);
        )*

        /// Every struct with its fields, in the form of `abi-layout.txt`.
        #[cfg(test)]
        fn layout() -> String {
            let mut text = String::new();
            $(
                let (size, align) = (std::mem::size_of::<$name>(), std::mem::align_of::<$name>());
                text += &format!("{} size {} align {}\n", stringify!($name), size, align);
                let uninit = std::mem::MaybeUninit::<$name>::uninit();
                let base = uninit.as_ptr();
                $(
                    // Safety: only an address is taken.
                    let at = unsafe { std::ptr::addr_of!((*base).$field) } as usize - base as usize;
                    let size = std::mem::size_of::<$type>();
                    text += &format!("  {} offset {} size {}\n", stringify!($field), at, size);
                )*
            )*
            text
        }
    };
}

pub type log_fn = unsafe extern "C" fn(*mut c_void, u32, slu_bytes, *const slu_pair, u32);
pub type settle_fn = unsafe extern "C" fn(*mut c_void, *const slu_settlement, u32) -> slu_rc;
pub type retain_fn = unsafe extern "C" fn(*mut c_void, u64) -> slu_rc;
pub type release_fn = unsafe extern "C" fn(*mut c_void, u64);
pub type set_credit_fn = unsafe extern "C" fn(*mut c_void, u32) -> slu_rc;
pub type publish_fn = unsafe extern "C" fn(*mut c_void, *const slu_publication, u32, u32) -> slu_rc;
pub type metric_register_fn = unsafe extern "C" fn(*mut c_void, *const slu_metric) -> u64;
pub type metric_value_fn = unsafe extern "C" fn(*mut c_void, u64, f64);
pub type clock_ns_fn = unsafe extern "C" fn(*mut c_void, u32) -> i64;
pub type set_health_fn = unsafe extern "C" fn(*mut c_void, u32, slu_bytes);
pub type get_extension_fn = unsafe extern "C" fn(*mut c_void, slu_bytes) -> *const c_void;

pub type diagnose_fn = unsafe extern "C" fn(*mut c_void, u32, slu_bytes, slu_bytes);
pub type validate_fn = unsafe extern "C" fn(*const slu_subscriber, slu_bytes, diagnose_fn, *mut c_void) -> slu_rc;
pub type create_fn =
    unsafe extern "C" fn(*const slu_subscriber, *const slu_host, slu_bytes, *mut *mut c_void, *mut slu_error) -> slu_rc;
pub type deadline_fn = unsafe extern "C" fn(*mut c_void, i64, *mut slu_error) -> slu_rc;
pub type deliver_fn = unsafe extern "C" fn(*mut c_void, *const slu_batch, *mut slu_error) -> slu_rc;
pub type gap_fn = unsafe extern "C" fn(*mut c_void, *const slu_gap, *mut slu_error) -> slu_rc;
pub type stop_fn = unsafe extern "C" fn(*mut c_void, *mut slu_error) -> slu_rc;
pub type instance_fn = unsafe extern "C" fn(*mut c_void);
pub type reconfigure_fn = unsafe extern "C" fn(*mut c_void, slu_bytes, *mut slu_error) -> slu_rc;

abi_structs! {
    slu_bytes: 16 {
        ptr: *const c_void,
        len: u64,
    }
    slu_pair: 32 {
        name: slu_bytes,
        value: slu_bytes,
    }
    slu_error: 512 {
        code: u32,
        flags: u32,
        length: u64,
        reserved: u64,
        message: [u8; 488],
    }
    slu_settlement: 40 {
        first_token: u64,
        count: u32,
        verdict: u32,
        delay_ms: u32,
        code: u32,
        reason: slu_bytes,
    }
    slu_message: 168 {
        token: u64,
        lsn: u64,
        ingest_time_ns: i64,
        event_time_ns: i64,
        producer_sequence: u64,
        producer_epoch: u32,
        attempt: u32,
        crc32c: u32,
        flags: u32,
        source: slu_bytes,
        producer: slu_bytes,
        topic: slu_bytes,
        key: slu_bytes,
        headers: slu_bytes,
        payload: slu_bytes,
        covered: slu_bytes,
    }
    slu_batch: 96 {
        struct_size: u32,
        flags: u32,
        count: u32,
        message_stride: u32,
        messages: *const slu_message,
        lease: u64,
        lease_bytes: u64,
        first_lsn: u64,
        last_lsn: u64,
        stream: slu_bytes,
        log_uuid: [u8; 16],
        ack_deadline_ns: i64,
    }
    slu_gap: 56 {
        struct_size: u32,
        reason: u32,
        first_lsn: u64,
        last_lsn: u64,
        stream: slu_bytes,
        log_uuid: [u8; 16],
    }
    slu_header_iterator: 16 {
        at: *const u8,
        end: *const u8,
    }
    slu_metric: 80 {
        struct_size: u32,
        kind: u32,
        name: slu_bytes,
        unit: slu_bytes,
        help: slu_bytes,
        labels: *const slu_pair,
        bounds: *const f64,
        label_count: u32,
        bound_count: u32,
    }
    slu_publication: 96 {
        struct_size: u32,
        output: u32,
        parent_token: u64,
        ordinal: u64,
        event_time_ns: i64,
        topic: slu_bytes,
        key: slu_bytes,
        headers: slu_bytes,
        payload: slu_bytes,
    }
    slu_host: 160 {
        struct_size: u32,
        abi_minor: u32,
        context: *mut c_void,
        host_version: slu_bytes,
        instance: slu_bytes,
        state_dir: slu_bytes,
        log: log_fn,
        settle: settle_fn,
        retain: retain_fn,
        release: release_fn,
        set_credit: set_credit_fn,
        publish: publish_fn,
        metric_register: metric_register_fn,
        metric_add: metric_value_fn,
        metric_set: metric_value_fn,
        clock_ns: clock_ns_fn,
        set_health: set_health_fn,
        get_extension: get_extension_fn,
    }
    slu_subscriber: 192 {
        struct_size: u32,
        flags: u32,
        context: *const c_void,
        kind: slu_bytes,
        summary: slu_bytes,
        config_schema: slu_bytes,
        want_records: u32,
        want_bytes: u32,
        want_linger_ms: u32,
        max_inflight: u32,
        ack_deadline_ms: u32,
        output_count: u32,
        outputs: *const slu_bytes,
        validate: Option<validate_fn>,
        create: Option<create_fn>,
        start: Option<deadline_fn>,
        deliver: Option<deliver_fn>,
        gap: Option<gap_fn>,
        flush: Option<deadline_fn>,
        drain: Option<deadline_fn>,
        stop: Option<stop_fn>,
        destroy: Option<instance_fn>,
        interrupt: Option<instance_fn>,
        reconfigure: Option<reconfigure_fn>,
        get_extension: Option<get_extension_fn>,
    }
    slu_module: 88 {
        struct_size: u32,
        abi_minor: u32,
        abi_minor_needed: u32,
        subscriber_count: u32,
        name: slu_bytes,
        version: slu_bytes,
        vendor: slu_bytes,
        runtime: slu_bytes,
        subscribers: *const *const slu_subscriber,
    }
}

impl slu_bytes {
    /// Bytes that live at least as long as whoever is given this looks at them.
    pub const fn of(bytes: &[u8]) -> slu_bytes {
        slu_bytes { ptr: bytes.as_ptr() as *const c_void, len: bytes.len() as u64 }
    }

    /// # Safety
    /// The bytes must be there, unchanged, for as long as the slice is used.
    pub unsafe fn as_slice<'a>(self) -> &'a [u8] {
        if self.len == 0 {
            return &[];
        }
        std::slice::from_raw_parts(self.ptr as *const u8, self.len as usize)
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_struct_is_laid_out_as_in_the_headers() {
        assert_eq!(super::layout(), include_str!("../abi-layout.txt"));
    }
}
