//! A browser that shows one page, to be asked what it shows: Debian's Chromium without a window, by its own driver.
//!
//! Knows nothing of the page. The driver speaks WebDriver (w3.org/TR/webdriver2): HTTP and JSON on loopback. What the browser
//! stores is below a directory of its own, and all of it ends with this value.

use std::{
    net::{SocketAddr, TcpListener},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{http, process::Running, wait::wait_until};

/// The driver starts in a second, on a busy machine in many.
const PATIENCE: Duration = Duration::from_secs(60);

/// As root, without a display, and without a word to anybody.
const ARGUMENTS: [&str; 11] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-default-apps",
    "--disable-extensions",
];

/// The browser.
pub struct Browser {
    driver: SocketAddr,
    /// `/session/<id>`.
    session: String,
    _process: Running,
    _directory: TempDir,
}

impl Browser {
    /// Opens the page at `path` in a window of `width` by `height` pixels.
    pub fn open(path: &Path, width: u32, height: u32) -> Result<Self> {
        let directory = TempDir::new()?;
        let driver = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let mut command = Command::new("chromedriver");
        command.arg(format!("--port={}", driver.port())).env("TMPDIR", directory.path()).env("HOME", directory.path());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let process = Running::start(command).context("Debian package chromium-driver")?;
        wait_until(PATIENCE, "the driver answers", || http::fetch(driver, "/status").ok())?;
        let profile = format!("--user-data-dir={}", directory.path().join("profile").display());
        let arguments = ARGUMENTS.iter().map(|argument| (*argument).to_owned());
        let arguments: Vec<_> = arguments.chain([format!("--window-size={width},{height}"), profile]).collect();
        let options = json!({ "capabilities": { "alwaysMatch": { "goog:chromeOptions": { "args": arguments } } } });
        let session = tell(driver, "POST", "/session", &options)?;
        let session = format!("/session/{}", session["sessionId"].as_str().context("a session")?);
        let browser = Self { driver, session, _process: process, _directory: directory };
        browser.tell("POST", "/url", &json!({ "url": format!("file://{}", path.display()) }))?;
        Ok(browser)
    }

    /// The value of a JavaScript function's body, asked in the page.
    pub fn ask(&self, body: &str) -> Result<Value> {
        self.tell("POST", "/execute/sync", &json!({ "script": body, "args": [] }))
    }

    /// What a person reads on the page.
    pub fn text(&self) -> Result<String> {
        let text = self.ask("return document.body.innerText")?;
        Ok(text.as_str().context("text")?.to_owned())
    }

    /// What the window shows: a PNG in base64.
    pub fn screenshot(&self) -> Result<String> {
        Ok(self.tell("GET", "/screenshot", &json!({}))?.as_str().context("a picture")?.to_owned())
    }

    fn tell(&self, method: &str, command: &str, what: &Value) -> Result<Value> {
        tell(self.driver, method, &format!("{}{command}", self.session), what)
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Ends the browser; the driver is killed after it.
        let _ = self.tell("DELETE", "", &json!({}));
    }
}

/// The value that the driver answers.
fn tell(driver: SocketAddr, method: &str, path: &str, what: &Value) -> Result<Value> {
    let body = if method == "POST" { what.to_string() } else { String::new() };
    let (status, answer) = http::send(driver, method, path, body)?;
    ensure!(status == 200, "{method} {path}: {status} {answer}");
    let mut answer: Value = serde_json::from_str(&answer)?;
    Ok(answer["value"].take())
}
