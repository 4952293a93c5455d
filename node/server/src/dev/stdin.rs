//! Ending a node together with the process that started it.

use tokio::sync::oneshot;

/// Resolves when standard input has reached its end, that is, when whoever holds the other end of the pipe has closed it
/// or is no more. What is written to it meanwhile is read and dropped. Cancel-safe.
///
/// # Errors
/// The thread that reads could not be started.
pub async fn stdin_closed() -> std::io::Result<()> {
    let (closed, wait) = oneshot::channel();
    // A blocking read: it has a thread of its own, which ends with the process at the latest.
    std::thread::Builder::new()
        .name("stdin".into())
        .spawn(move || {
            let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
            let _ = closed.send(());
        })?;
    // The sender is never dropped without a message.
    let _ = wait.await;
    Ok(())
}
