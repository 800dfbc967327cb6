//! The main thread's stack: what we conclude from the kernel's layout is what the C library reads in the list of mappings.
//! No test harness, because that runs tests on threads of its own.

#[cfg(target_os = "linux")]
fn main() {
    // SAFETY: an all-zero attribute object is a valid out-parameter.
    let mut attributes: libc::pthread_attr_t = unsafe { std::mem::zeroed() };
    let (mut low, mut bytes) = (std::ptr::null_mut(), 0);
    // SAFETY: the calling thread exists; the attributes are initialised by the first call and destroyed once.
    let failed = unsafe {
        libc::pthread_getattr_np(libc::pthread_self(), &mut attributes)
            | libc::pthread_attr_getstack(&attributes, &mut low, &mut bytes)
            | libc::pthread_attr_destroy(&mut attributes)
    };
    assert_eq!(failed, 0);
    let reserve = 1 << 20;
    let limit = tierup_backends::abi::stack_limit(usize::MAX, reserve);
    assert!((low as usize + reserve).abs_diff(limit) <= 4096, "{low:?} and {reserve} bytes, but {limit:#x}");
}

#[cfg(not(target_os = "linux"))]
fn main() {}
