//! How large a page is that is cleared when a thread first touches it: no huge ones, unless somebody asks for them.
//!
//! Clearing one of 2 MiB took 6 to 30 ms where reactors began many calls in one moment, and everybody waited for it. The
//! allocator is built not to ask for them (`no_thp`). Where the system gives them to all who don't say otherwise, the
//! process says otherwise.

#[cfg(target_os = "linux")]
use std::ffi::{c_int, c_ulong};
use std::fs;

/// Where Linux says who gets huge pages.
const SETTING: &str = "/sys/kernel/mm/transparent_hugepage/enabled";

/// Has the process go without huge pages where the system would give them to whoever doesn't ask.
///
/// Weights for which somebody asks (glibc's `glibc.malloc.hugetlb=1`) have them all the same, from Linux 6.18 on; before,
/// the process has none at all then, nor have those that it starts.
pub fn avoid_huge() {
    if fs::read_to_string(SETTING).is_ok_and(|setting| given_to_all(&setting)) {
        disable();
    }
}

/// Says whether a setting is the one that gives huge pages to everybody: what holds is in brackets.
fn given_to_all(setting: &str) -> bool {
    setting.split_whitespace().any(|word| word == "[always]")
}

#[cfg(target_os = "linux")]
fn disable() {
    const PR_SET_THP_DISABLE: c_int = 41;
    const EXCEPT_ADVISED: c_ulong = 2;

    // Kernels that don't know the flag refuse it. One that refuses both leaves things as they are.
    if control(PR_SET_THP_DISABLE, 1, EXCEPT_ADVISED) != 0 {
        control(PR_SET_THP_DISABLE, 1, 0);
    }
}

#[cfg(target_os = "linux")]
fn control(option: c_int, first: c_ulong, second: c_ulong) -> c_int {
    unsafe extern "C" {
        fn prctl(option: c_int, ...) -> c_int;
    }
    // SAFETY: the C library's; the options that are used here read and write no memory of ours.
    unsafe { prctl(option, first, second, 0 as c_ulong, 0 as c_ulong) }
}

#[cfg(not(target_os = "linux"))]
fn disable() {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_holds_is_in_brackets() {
        assert!(given_to_all("[always] madvise never\n"));
        assert!(!given_to_all("always [madvise] never\n") && !given_to_all("always madvise [never]\n"));
        assert!(!given_to_all(""));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_process_can_go_without() {
        const PR_GET_THP_DISABLE: c_int = 42;
        disable();
        assert!(control(PR_GET_THP_DISABLE, 0, 0) > 0);
    }
}
