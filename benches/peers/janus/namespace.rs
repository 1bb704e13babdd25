//! A network namespace with a server in it, and what is to be loaded on the server: the
//! same for Sidetone's and for its peer.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Who is in which rooms, and what is sent: of so many bits per second.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) rooms: u32,
    pub(crate) publishers: u32,
    pub(crate) subscribers: u32,
    pub(crate) audio: Option<u64>,
    pub(crate) video: Option<u64>,
}

pub(crate) const CASES: [Case; 2] = [
    Case {
        name: "10 cameras to 20 each",
        rooms: 10,
        publishers: 1,
        subscribers: 20,
        audio: None,
        video: Some(500_000),
    },
    Case {
        name: "20 microphones to each other",
        rooms: 1,
        publishers: 20,
        subscribers: 0,
        audio: Some(32_000),
        video: None,
    },
];

impl Case {
    /// The case of this name.
    pub(crate) fn of(name: &str) -> Result<&'static Self, String> {
        CASES.iter().find(|case| case.name == name).ok_or_else(|| format!("there is no case \"{name}\""))
    }
}

/// Seconds within which all come in, and that are measured then.
pub(crate) const fn seconds(quick: bool) -> (u64, u64) {
    if quick { (3, 4) } else { (5, 12) }
}

/// A network namespace that is joined to this one by a pair of addresses; gone when
/// dropped, and the server in it, and its folder.
pub(crate) struct Namespace {
    name: String,
    /// The server's address, and this side's.
    pub(crate) server: String,
    pub(crate) here: String,
    /// For the server's files.
    pub(crate) folder: PathBuf,
    child: Option<Child>,
}

impl Namespace {
    /// # Errors
    /// There is no right to, or no `ip`.
    pub(crate) fn new() -> Result<Self, String> {
        let pid = std::process::id();
        let net = pid % 250;
        let space = Self {
            name: format!("sidetone-{pid}"),
            server: format!("10.99.{net}.1"),
            here: format!("10.99.{net}.2"),
            folder: std::env::temp_dir().join(format!("sidetone-bench-{pid}")),
            child: None,
        };
        let (name, ours, theirs) = (&space.name, format!("st{pid}a"), format!("st{pid}b"));
        let steps = [
            format!("netns add {name}"),
            format!("link add {ours} type veth peer name {theirs} netns {name}"),
            format!("addr add {}/24 dev {ours}", space.here),
            format!("link set {ours} up"),
            format!("-n {name} addr add {}/24 dev {theirs}", space.server),
            format!("-n {name} link set {theirs} up"),
            format!("-n {name} link set lo up"),
        ];
        for step in steps {
            ip(&step).map_err(|why| format!("skipped: a network namespace takes root and `ip`: {why}"))?;
        }
        std::fs::create_dir_all(&space.folder).map_err(|why| why.to_string())?;
        Ok(space)
    }

    /// Writes a file into the folder: where it is.
    pub(crate) fn write(&self, file: &str, text: &str) -> Result<PathBuf, String> {
        let path = self.folder.join(file);
        std::fs::write(&path, text).map_err(|why| format!("{}: {why}", path.display()))?;
        Ok(path)
    }

    /// Starts a server in it: its process. What it says goes to `log` in the folder.
    pub(crate) fn start(&mut self, program: &Path, arguments: &[&str]) -> Result<u32, String> {
        let log = std::fs::File::create(self.folder.join("log")).map_err(|why| why.to_string())?;
        let copy = log.try_clone().map_err(|why| why.to_string())?;
        let child = Command::new("ip")
            .args(["netns", "exec", &self.name])
            .arg(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(copy)
            .spawn()
            .map_err(|why| format!("{} does not start: {why}", program.display()))?;
        let pid = child.id();
        self.child = Some(child);
        Ok(pid)
    }

    /// Waits until somebody listens at a port of the server.
    pub(crate) fn wait(&mut self, port: u16) -> Result<(), String> {
        let address = format!("{}:{port}", self.server);
        for _ in 0..500 {
            if std::net::TcpStream::connect(&address).is_ok() {
                return Ok(());
            }
            if let Some(ended) = self.child.as_mut().and_then(|child| child.try_wait().ok().flatten()) {
                let log = std::fs::read_to_string(self.folder.join("log")).unwrap_or_default();
                return Err(format!("the server ended with {ended}: {}", log.lines().last().unwrap_or("")));
            }
            std::thread::park_timeout(std::time::Duration::from_millis(20));
        }
        Err(format!("nobody listens at {address}"))
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
        let _ = ip(&format!("netns del {}", self.name));
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn ip(arguments: &str) -> Result<(), String> {
    let said = Command::new("ip").args(arguments.split(' ')).output().map_err(|why| format!("ip: {why}"))?;
    if said.status.success() {
        return Ok(());
    }
    Err(format!("ip {arguments}: {}", String::from_utf8_lossy(&said.stderr).trim()))
}
