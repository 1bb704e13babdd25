//! `Watch`: whether a call allocates, locks, reads a clock or calls the system.
//!
//! **How.** The first byte of each watched function of the C library becomes a
//! breakpoint; whoever comes to it, on whatever way (C, C++, Rust's `System`, the
//! C library itself), is noted, and the function goes on. System calls are told by
//! the kernel (Syscall User Dispatch, Linux 5.11). Each is noted once a call.
//!
//! **What it cannot see.** An allocator inside the plugin that takes from memory it
//! already has; locks that are not of the C library, while nobody else holds them
//! (Rust's `Mutex`, spinning); clocks read without the C library (`rdtsc`); and what
//! other threads of the plugin do.

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
pub(crate) use machine::{Watch, aside};
use std::ffi::CStr;

/// What a call did that it should not have.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// Watched functions that were called, and from where.
    pub(crate) calls: Vec<(&'static str, usize)>,
    /// The first system call's number and from where.
    pub(crate) system_call: Option<(i64, usize)>,
}

/// Functions of the C library that may not be called, and what each is.
const WATCHED: &[(&CStr, &str)] = &[
    (c"malloc", "allocates (malloc)"),
    (c"calloc", "allocates (calloc)"),
    (c"realloc", "allocates (realloc)"),
    (c"posix_memalign", "allocates (posix_memalign)"),
    (c"aligned_alloc", "allocates (aligned_alloc)"),
    (c"memalign", "allocates (memalign)"),
    (c"free", "frees (free)"),
    (c"pthread_mutex_lock", "locks (pthread_mutex_lock)"),
    (c"pthread_rwlock_rdlock", "locks (pthread_rwlock_rdlock)"),
    (c"pthread_rwlock_wrlock", "locks (pthread_rwlock_wrlock)"),
    (c"pthread_cond_wait", "waits (pthread_cond_wait)"),
    (c"sem_wait", "waits (sem_wait)"),
    (c"clock_gettime", "reads a clock (clock_gettime); ask now_ns"),
];

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod machine {
    use std::ffi::c_void;
    use std::mem;
    use std::ptr;
    use std::sync::atomic::{AtomicBool, AtomicI64, AtomicPtr, AtomicU8, AtomicUsize, Ordering};

    use super::{Seen, WATCHED};

    const COUNT: usize = WATCHED.len();
    const BREAKPOINT: u8 = 0xcc;
    const ALLOW: u8 = 0;
    const BLOCK: u8 = 1;
    // linux/prctl.h
    const PR_SET_SYSCALL_USER_DISPATCH: i32 = 59;
    const PR_SYS_DISPATCH_ON: usize = 1;

    static POINTS: [AtomicPtr<u8>; COUNT] = [const { AtomicPtr::new(ptr::null_mut()) }; COUNT];
    static ORIGINAL: [AtomicU8; COUNT] = [const { AtomicU8::new(0) }; COUNT];
    static CALLED_FROM: [AtomicUsize; COUNT] = [const { AtomicUsize::new(0) }; COUNT];
    static SELECTOR: AtomicU8 = AtomicU8::new(ALLOW);
    static SYSTEM_CALL: AtomicI64 = AtomicI64::new(-1);
    static SYSTEM_CALL_FROM: AtomicUsize = AtomicUsize::new(0);
    static ARMED: AtomicBool = AtomicBool::new(false);

    /// Breakpoints that lie ready in this process; there is one such.
    pub(crate) struct Watch(());

    impl Watch {
        /// Makes ready, for calls on this thread.
        ///
        /// # Errors
        /// Why this system does not let it.
        pub(crate) fn new() -> Result<Self, String> {
            for (at, (name, _)) in WATCHED.iter().enumerate() {
                // SAFETY: a name that ends with a zero.
                let point = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) }.cast::<u8>();
                if point.is_null() {
                    continue;
                }
                let page = 4_096;
                let start = point as usize / page * page;
                let all = libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC;
                // SAFETY: the page of a function; it stays readable and executable.
                if unsafe { libc::mprotect(start as *mut c_void, page, all) } != 0 {
                    // What the kernel itself lends (its clock, say) stays as it is.
                    continue;
                }
                // SAFETY: code of a function may be read.
                ORIGINAL[at].store(unsafe { point.read_volatile() }, Ordering::Relaxed);
                POINTS[at].store(point, Ordering::Relaxed);
            }
            if POINTS[0].load(Ordering::Relaxed).is_null() {
                return Err("this system does not let code be watched".into());
            }
            handle(libc::SIGTRAP, trapped as *const () as usize);
            handle(libc::SIGSYS, called as *const () as usize);
            let restorer = restorer();
            // SAFETY: the selector lives for ever; the code that returns from
            // handlers may always call the system.
            let on = unsafe {
                libc::prctl(
                    PR_SET_SYSCALL_USER_DISPATCH,
                    PR_SYS_DISPATCH_ON,
                    restorer,
                    16_usize,
                    SELECTOR.as_ptr(),
                )
            };
            if on != 0 || restorer == 0 {
                return Err("this system does not tell of system calls (Linux 5.11 does)".into());
            }
            Ok(Self(()))
        }

        /// Makes a call, and tells what it did. What the host does meanwhile should
        /// be done by `aside`.
        pub(crate) fn during<T>(&mut self, call: impl FnOnce() -> T) -> (T, Seen) {
            CALLED_FROM.iter().for_each(|from| from.store(0, Ordering::Relaxed));
            SYSTEM_CALL.store(-1, Ordering::Relaxed);
            arm();
            let result = call();
            disarm();
            let calls = WATCHED.iter().zip(&CALLED_FROM).filter_map(|((_, what), from)| {
                let from = from.load(Ordering::Relaxed);
                (from != 0).then_some((*what, from))
            });
            let number = SYSTEM_CALL.load(Ordering::Relaxed);
            let seen = Seen {
                calls: calls.collect(),
                system_call: (number >= 0).then(|| (number, SYSTEM_CALL_FROM.load(Ordering::Relaxed))),
            };
            (result, seen)
        }
    }

    /// Does something that is not the plugin's, unseen.
    pub(crate) fn aside<T>(work: impl FnOnce() -> T) -> T {
        if !ARMED.load(Ordering::Relaxed) {
            return work();
        }
        let has_called = SYSTEM_CALL.load(Ordering::Relaxed) >= 0;
        disarm();
        let result = work();
        arm();
        if has_called {
            SELECTOR.store(ALLOW, Ordering::SeqCst);
        }
        result
    }

    fn arm() {
        ARMED.store(true, Ordering::SeqCst);
        // What was called once is noted, and needs no breakpoint any more.
        for (point, from) in POINTS.iter().zip(&CALLED_FROM) {
            if from.load(Ordering::Relaxed) == 0 {
                put(point, BREAKPOINT);
            }
        }
        SELECTOR.store(BLOCK, Ordering::SeqCst);
    }

    fn disarm() {
        SELECTOR.store(ALLOW, Ordering::SeqCst);
        for (point, original) in POINTS.iter().zip(&ORIGINAL) {
            put(point, original.load(Ordering::Relaxed));
        }
        ARMED.store(false, Ordering::SeqCst);
    }

    fn put(point: &AtomicPtr<u8>, byte: u8) {
        let point = point.load(Ordering::Relaxed);
        if !point.is_null() {
            // SAFETY: the first byte of a function, in a page made writable; one byte
            // changes at once, and either value of it is code that can be run.
            unsafe { point.write_volatile(byte) };
        }
    }

    fn handle(signal: i32, handler: usize) {
        // SAFETY: a handler of the right type that only touches atomics, the code
        // that it watches and the context that it is given.
        unsafe {
            let mut action: libc::sigaction = mem::zeroed();
            action.sa_sigaction = handler;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_NODEFER;
            libc::sigaction(signal, &raw const action, ptr::null_mut());
        }
    }

    /// Where handlers return to, as the kernel knows it: `rt_sigreturn` is called
    /// from there.
    fn restorer() -> usize {
        // The kernel's own struct: handler, flags, restorer, mask.
        let mut action = [0_usize; 4];
        // SAFETY: it is as long as the kernel's struct with a mask of 8 bytes.
        unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                libc::SIGSYS,
                ptr::null::<c_void>(),
                action.as_mut_ptr(),
                8_usize,
            );
        }
        action[2]
    }

    extern "C" fn trapped(_: i32, _: *mut libc::siginfo_t, context: *mut c_void) {
        // SAFETY: the kernel gives a handler with SA_SIGINFO its context.
        let registers = unsafe { &mut (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs };
        let at = registers[libc::REG_RIP as usize] as usize - 1;
        let Some(index) = POINTS.iter().position(|point| point.load(Ordering::Relaxed) as usize == at) else {
            return;
        };
        let stack = registers[libc::REG_RSP as usize] as *const usize;
        // SAFETY: at a function's first instruction the stack holds its return address.
        let from = unsafe { *stack };
        // `free` of null does nothing: it returns at once.
        if WATCHED[index].0 == c"free" && registers[libc::REG_RDI as usize] == 0 {
            registers[libc::REG_RIP as usize] = from as i64;
            registers[libc::REG_RSP as usize] += 8;
            return;
        }
        CALLED_FROM[index].store(from, Ordering::Relaxed);
        put(&POINTS[index], ORIGINAL[index].load(Ordering::Relaxed));
        registers[libc::REG_RIP as usize] = at as i64;
    }

    extern "C" fn called(_: i32, info: *mut libc::siginfo_t, context: *mut c_void) {
        SELECTOR.store(ALLOW, Ordering::SeqCst);
        // SAFETY: as above; of SIGSYS the info begins with three numbers, padding, the
        // address after the call and its number (asm-generic/siginfo.h).
        unsafe {
            let info = info.cast::<u8>();
            let address = *info.add(16).cast::<usize>();
            let number = *info.add(24).cast::<i32>();
            SYSTEM_CALL.store(i64::from(number), Ordering::Relaxed);
            SYSTEM_CALL_FROM.store(address, Ordering::Relaxed);
            // It is done once more, now that it may be.
            let registers = &mut (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs;
            registers[libc::REG_RIP as usize] -= 2;
            registers[libc::REG_RAX as usize] = i64::from(number);
        }
    }
}

#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
pub(crate) struct Watch(());

#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
impl Watch {
    pub(crate) fn new() -> Result<Self, String> {
        Err("calls can be watched on Linux on x86-64 alone".into())
    }

    pub(crate) fn during<T>(&mut self, call: impl FnOnce() -> T) -> (T, Seen) {
        (call(), Seen::default())
    }
}

#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
pub(crate) fn aside<T>(work: impl FnOnce() -> T) -> T {
    work()
}

/// Whose code is at an address: the library's file name, how far in, and the
/// function where it has a name.
pub(crate) fn whose(address: usize) -> String {
    // SAFETY: `dladdr` takes any address, and fills what it is given in.
    unsafe {
        let mut info: libc::Dl_info = std::mem::zeroed();
        if libc::dladdr(address as *const _, &raw mut info) == 0 || info.dli_fname.is_null() {
            return format!("address {address:#x}");
        }
        let path = CStr::from_ptr(info.dli_fname).to_string_lossy().into_owned();
        let file = path.rsplit('/').next().unwrap_or_default();
        let offset = address - info.dli_fbase as usize;
        if info.dli_sname.is_null() {
            return format!("{file}+{offset:#x}");
        }
        let name = CStr::from_ptr(info.dli_sname).to_string_lossy();
        format!("{file}+{offset:#x} ({name})")
    }
}
