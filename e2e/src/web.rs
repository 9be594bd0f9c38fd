//! A web server on loopback that gives out the files of a folder: Python's own.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::{free_port, wait_for};

pub struct WebServer {
    pub port: u16,
    process: Child,
}

impl WebServer {
    pub fn start(folder: &Path) -> WebServer {
        let port = free_port();
        let process = Command::new("python3")
            .args(["-m", "http.server", "--bind", "127.0.0.1", &port.to_string(), "--directory"])
            .arg(folder)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("python3 starts");
        wait_for("the web server", Duration::from_secs(30), || std::net::TcpStream::connect(("127.0.0.1", port)).ok());
        WebServer { port, process }
    }
}

impl Drop for WebServer {
    fn drop(&mut self) {
        // A process that ended by itself is as good.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
