//! `ipsight serve` as a process, and a client of it that is no more than a socket.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::mpsc::RecvTimeoutError;
use std::thread::JoinHandle;
use std::time::Duration;

/// A started server. It ends with the value.
pub struct Server {
    child: Child,
    /// As the server says it: scheme, address and port.
    pub url: String,
    pub address: SocketAddr,
    pub admin: SocketAddr,
    /// What it says on stderr after its addresses.
    talk: Option<JoinHandle<String>>,
}

impl Server {
    /// Starts a server of the model folder `model` in `folder`, on free ports.
    pub fn start(folder: &Path, model: &str, more: &[&str]) -> Self {
        Self::start_verb(folder, &[&["serve", "--model", model], more].concat())
    }

    /// Starts the server of a verb with its flags in `folder`, on free ports.
    pub fn start_verb(folder: &Path, verb: &[&str]) -> Self {
        Self::start_on("127.0.0.1:0", folder, verb)
    }

    /// [`Server::start_verb`] on another address.
    pub fn start_on(address: &str, folder: &Path, verb: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ipsight"));
        command
            .args(verb)
            .args(["--device", "ndarray", "--listen", address, "--admin-listen", address])
            .current_dir(folder);
        Self::try_start(command).unwrap_or_else(|ended| panic!("{ended:?}"))
    }

    /// A server of a command that has all its flags; or how it ended, where it ended before it listened.
    pub fn try_start(mut command: Command) -> Result<Self, Ended> {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let (listens, waits) = std::sync::mpsc::channel::<()>();
        let id = child.id().to_string();
        // A server that neither listens nor ends is a failure, not a test that hangs.
        let watchdog = std::thread::spawn(move || {
            if let Err(RecvTimeoutError::Timeout) = waits.recv_timeout(Duration::from_secs(180)) {
                let _ = Command::new("kill").args(["-KILL", &id]).status();
            }
        });
        let urls = urls(&mut stderr);
        drop(listens);
        let _ = watchdog.join();
        let (url, admin_url) = match urls {
            Ok(urls) => urls,
            Err(said) => {
                let status = child.wait().unwrap();
                return Err(Ended { code: status.code(), said });
            }
        };
        // A pipe that nobody empties would stop the server.
        let talk = std::thread::spawn(move || {
            let mut said = String::new();
            let _ = stderr.read_to_string(&mut said);
            said
        });
        let (address, admin) = (address_of(&url), address_of(&admin_url));
        Ok(Self { child, url, address, admin, talk: Some(talk) })
    }

    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status();
        assert!(status.unwrap().success());
    }

    /// Ends it as an orchestrator does, and fails unless it says that all went well. Returns what it said.
    pub fn stop(self) -> String {
        self.signal("TERM");
        self.wait()
    }

    /// Waits for the end that was asked for, and returns what the server said after its addresses.
    pub fn wait(mut self) -> String {
        let status = self.child.wait().unwrap();
        let said = self.talk.take().unwrap().join().unwrap();
        assert_eq!(status.code(), Some(0), "{said}");
        assert!(!said.contains("panicked"), "{said}");
        said
    }

    /// The process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has not ended.
    pub fn runs(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }
}

/// How a server ended that never listened.
#[derive(Debug)]
pub struct Ended {
    /// None of a signal.
    pub code: Option<i32>,
    pub said: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a server says of where it listens: for requests, and for its operator. Else all that it said.
fn urls(stderr: &mut BufReader<ChildStderr>) -> Result<(String, String), String> {
    let (mut said, mut listening, mut admin) = (String::new(), None, None);
    while listening.is_none() || admin.is_none() {
        let mut line = String::new();
        if stderr.read_line(&mut line).unwrap() == 0 {
            return Err(said);
        }
        let after = |words: &str| line.split_once(words)?.1.split_whitespace().next().map(str::to_owned);
        listening = listening.or_else(|| after("listening on "));
        admin = admin.or_else(|| after("admin on "));
        said += &line;
    }
    Ok((listening.unwrap(), admin.unwrap()))
}

fn address_of(url: &str) -> SocketAddr {
    let (_scheme, address) = url.split_once("://").expect(url);
    address.parse().expect(url)
}

/// One connection that is kept.
pub struct Client {
    stream: BufReader<TcpStream>,
}

impl Client {
    pub fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        // An answer that never comes is a failure, not a test that hangs.
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        Self { stream: BufReader::new(stream) }
    }

    /// Asks with a method and header lines, and reads status and body of the answer.
    pub fn ask(
        &mut self,
        method: &str,
        path: &str,
        headers: &[&str],
        body: impl AsRef<[u8]>,
    ) -> std::io::Result<(u16, String)> {
        let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
        let body = body.as_ref();
        let length = body.len();
        let head =
            format!("{method} {path} HTTP/1.1\r\nHost: ipsight\r\nContent-Length: {length}\r\n{headers}\r\n");
        self.send(&[head.as_bytes(), body].concat())?;
        self.read_answer()
    }

    /// Sends bytes as they are.
    pub fn send_raw(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.send(bytes)
    }

    /// Posts a body and reads status and body of the answer.
    pub fn post(
        &mut self,
        path: &str,
        content_type: &str,
        body: impl AsRef<[u8]>,
    ) -> std::io::Result<(u16, String)> {
        let body = body.as_ref();
        let length = body.len();
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: ipsight\r\nContent-Type: {content_type}\r\n\
             Content-Length: {length}\r\n\r\n"
        );
        self.send(&[head.as_bytes(), body].concat())?;
        self.read_answer()
    }

    /// Sends the head of a request, and returns when the server has begun with it and wants the body.
    pub fn begin_post(&mut self, path: &str, content_type: &str, length: usize) -> std::io::Result<()> {
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: ipsight\r\nContent-Type: {content_type}\r\n\
             Content-Length: {length}\r\nExpect: 100-continue\r\n\r\n"
        );
        self.send(head.as_bytes())?;
        let line = self.read_line()?;
        assert!(line.starts_with("HTTP/1.1 100"), "{line}");
        self.read_line().map(drop)
    }

    /// Sends the body that `begin_post` announced, and reads the answer.
    pub fn finish_post(&mut self, body: &str) -> std::io::Result<(u16, String)> {
        self.send(body.as_bytes())?;
        self.read_answer()
    }

    fn send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.get_mut().write_all(bytes)
    }

    /// Reads status and body of the next answer.
    pub fn read_answer(&mut self) -> std::io::Result<(u16, String)> {
        let bad = |what: &str| std::io::Error::new(std::io::ErrorKind::InvalidData, what.to_owned());
        let status = self.read_line()?;
        let status =
            status.split(' ').nth(1).and_then(|code| code.parse().ok()).ok_or_else(|| bad(&status))?;
        let mut length = None;
        loop {
            let line = self.read_line()?;
            if line.is_empty() {
                break;
            }
            let (name, value) = line.split_once(':').ok_or_else(|| bad(&line))?;
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse().ok();
            }
        }
        let mut body = vec![0; length.ok_or_else(|| bad("no Content-Length"))?];
        self.stream.read_exact(&mut body)?;
        Ok((status, String::from_utf8(body).map_err(|_| bad("not UTF-8"))?))
    }

    fn read_line(&mut self) -> std::io::Result<String> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        Ok(line.trim_end().to_owned())
    }
}
