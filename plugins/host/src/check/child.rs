//! The process of a case: it limits itself, says what it was about when it dies, and
//! runs the case.

use std::ffi::c_void;
use std::fmt::Write as _;
use std::fs::File;
use std::os::fd::{AsRawFd, FromRawFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicI32, Ordering};

use super::case;
use super::guard::place;
use super::trial::{Line, Stop, Trial};
use super::watch::whose;

/// Memory that a case may map, in bytes.
const MEMORY: u64 = 4 << 30;
/// Files that it may have open.
const FILES: u64 = 512;

/// What the process of a case is to do.
#[derive(Clone, Debug)]
pub struct Task {
    /// The library.
    pub library: PathBuf,
    /// The case's name.
    pub case: String,
    /// What random values are drawn with.
    pub seed: u64,
    /// Values for parameters, by name.
    pub set: Vec<(String, String)>,
    /// Processor seconds that it may use.
    pub cpu_s: u64,
}

/// Runs a case in this process, which is for nothing else, and tells what it finds
/// on standard output, for [`super::check`] to read. Gives the exit code.
/// \[control\]
#[must_use]
pub fn run(task: Task) -> u8 {
    let Some(case) = case(&task.case) else { return 2 };
    let out = confined(task.cpu_s);
    let mut trial = Trial::new(task.library, task.seed, task.set, out);
    match (case.run)(&mut trial) {
        Ok(()) | Err(Stop::Enough) => {}
        Err(Stop::Skip(why)) => trial.tell(&Line::Skipped(why)),
    }
    trial.doing("unloading, as the process ends");
    trial.tell(&Line::Done);
    0
}

/// Makes this process, which is for nothing else, ready for foreign code: limits it,
/// has it end with the one that started it, and say why it dies. Gives its standard
/// output; what the plugin prints goes to standard error. \[control\]
#[must_use]
pub fn confined(cpu_s: u64) -> File {
    limit(cpu_s);
    let out = take_stdout();
    tell_of_deaths(&out);
    out
}

fn limit(cpu_s: u64) {
    for (what, most) in [
        (libc::RLIMIT_CPU, cpu_s),
        (libc::RLIMIT_AS, MEMORY),
        (libc::RLIMIT_CORE, 0),
        (libc::RLIMIT_NOFILE, FILES),
    ] {
        let limit = libc::rlimit { rlim_cur: most, rlim_max: most };
        // SAFETY: a valid limit; where it is refused the process goes on without it.
        unsafe { libc::setrlimit(what, &raw const limit) };
    }
    // SAFETY: numbers alone.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
}

fn take_stdout() -> File {
    // SAFETY: both are open; the new descriptor is owned by the file alone.
    unsafe {
        let own = libc::fcntl(1, libc::F_DUPFD_CLOEXEC, 3);
        libc::dup2(2, 1);
        File::from_raw_fd(own)
    }
}

/// Where a dying process tells why.
static LAST_WORDS: AtomicI32 = AtomicI32::new(-1);

/// Has signals that end the process say first where it was and what it touched.
fn tell_of_deaths(out: &File) {
    LAST_WORDS.store(out.as_raw_fd(), Ordering::Relaxed);
    // A stack of its own: the other may have overflowed.
    let stack = Box::leak(vec![0_u8; 64 << 10].into_boxed_slice());
    // SAFETY: the stack lives for ever; the handler is of the right type.
    unsafe {
        let stack = libc::stack_t { ss_sp: stack.as_mut_ptr().cast(), ss_flags: 0, ss_size: stack.len() };
        libc::sigaltstack(&raw const stack, std::ptr::null_mut());
        for signal in [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE, libc::SIGABRT] {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = last_words as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESETHAND;
            libc::sigaction(signal, &raw const action, std::ptr::null_mut());
        }
    }
}

extern "C" fn last_words(signal: i32, info: *mut libc::siginfo_t, context: *mut c_void) {
    let out = LAST_WORDS.load(Ordering::Relaxed);
    let mut text = Fixed { bytes: [0; 512], length: 0 };
    if signal == libc::SIGSEGV || signal == libc::SIGBUS {
        // SAFETY: of these signals the info has the address.
        let address = unsafe { (*info).si_addr() } as usize;
        let _ = write!(text, "!it touched ");
        match place(address) {
            Some(place) => {
                let name = place.name.split(|byte| *byte == 0).next().unwrap_or_default();
                let name = std::str::from_utf8(name).unwrap_or_default();
                let _ = match (place.is_gone, place.offset, place.length) {
                    (true, ..) => {
                        write!(text, "{name}, which was given back (an input is good until process returns)")
                    }
                    (_, offset, _) if offset < 0 => write!(text, "{} bytes before {name}", -offset),
                    (_, offset, length) if offset as usize >= length => {
                        write!(
                            text,
                            "byte {} after the end of {name} ({length} bytes)",
                            offset as usize - length
                        )
                    }
                    (_, offset, _) => write!(text, "byte {offset} of {name}, which may not be written"),
                };
            }
            None if address < 4_096 => drop(write!(text, "a null pointer (address {address:#x})")),
            None => drop(write!(text, "address {address:#x}, where it has no memory")),
        }
        let _ = writeln!(text);
    }
    // SAFETY: an open descriptor and as many bytes; a write is all that is done.
    unsafe { libc::write(out, text.bytes.as_ptr().cast(), text.length) };
    // What follows may allocate, in a process that is broken: a second must do.
    // SAFETY: a number alone.
    unsafe { libc::alarm(1) };
    #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
    {
        // SAFETY: the kernel gives a handler with SA_SIGINFO its context.
        let at = unsafe { (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs[libc::REG_RIP as usize] };
        let line = format!("!at {}\n", whose(at as usize));
        // SAFETY: as above.
        unsafe { libc::write(out, line.as_ptr().cast(), line.len()) };
    }
    let _ = context;
    // It returns to the same instruction, and dies of the signal itself; one that
    // was sent is sent again.
    // SAFETY: a number alone.
    unsafe { libc::raise(signal) };
}

/// Text without memory of its own.
struct Fixed {
    bytes: [u8; 512],
    length: usize,
}

impl std::fmt::Write for Fixed {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        let room = self.bytes.len() - self.length;
        let taken = text.len().min(room);
        self.bytes[self.length..][..taken].copy_from_slice(&text.as_bytes()[..taken]);
        self.length += taken;
        Ok(())
    }
}
