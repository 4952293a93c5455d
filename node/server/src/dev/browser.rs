//! Opening the page in the user's browser.

use std::process::Stdio;

/// Asks the desktop to open `url`.
///
/// # Errors
/// The desktop's opener could not be started.
pub(super) fn open(url: &str) -> std::io::Result<()> {
    let program = if cfg!(target_os = "macos") {
        "open"
    } else if cfg!(windows) {
        "explorer"
    } else {
        "xdg-open"
    };
    let mut command = tokio::process::Command::new(program);
    command
        .arg(url)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    // Reaped by the runtime when it ends; its outcome is shown by the browser.
    command.spawn().map(drop)
}
