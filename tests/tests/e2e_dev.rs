//! `halley dev` itself: what it prints, and that nothing is left behind.

use std::net::TcpListener;
use std::process::Stdio;
use std::time::Duration;

use anyhow::ensure;
use halley_tests::admin;
use halley_tests::binary;
use halley_tests::dev_cluster::DevCluster;
use halley_tests::patience::eventually;
use halley_tests::turn::turn;
use tokio::process::Command;

/// Ctrl-C ends all nodes, in order, with status 0, and removes the files.
#[tokio::test(flavor = "multi_thread")]
async fn an_interrupt_ends_all() -> anyhow::Result<()> {
    let _turn = turn().await;
    let mut dev = DevCluster::start(3).await?;
    let folder = dev.folder().to_owned();
    ensure!(
        folder.join("n1.log").is_file(),
        "no log in {}",
        folder.display()
    );
    let status = dev.end("INT").await?;
    ensure!(status.success(), "{status}");
    for place in 0..3 {
        ensure!(!dev.is_running(place), "n{} is still running", place + 1);
    }
    ensure!(!folder.exists(), "{} is still there", folder.display());
    Ok(())
}

/// When the command itself is killed, its nodes end too.
#[tokio::test(flavor = "multi_thread")]
async fn nodes_do_not_outlive_the_command() -> anyhow::Result<()> {
    let _turn = turn().await;
    let mut dev = DevCluster::start(2).await?;
    dev.end("KILL").await?;
    for place in 0..2 {
        eventually("the node has ended", Duration::from_secs(10), async || {
            ensure!(!dev.is_running(place), "n{} is running", place + 1);
            Ok(())
        })
        .await?;
    }
    std::fs::remove_dir_all(dev.folder())?;
    Ok(())
}

/// A node that ends is reported, and not started again; the others go on.
#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_node_is_reported() -> anyhow::Result<()> {
    let _turn = turn().await;
    let mut dev = DevCluster::start(2).await?;
    dev.kill_node(1).await?;
    dev.line("node n2 ended (signal 9)").await?;
    let (status, page) = admin::get(dev.address(0), "/").await?;
    ensure!(status == 200 && page.contains("Halley"), "{status}");
    let status = dev.end("TERM").await?;
    ensure!(status.success(), "{status}");
    std::fs::remove_dir_all(dev.folder())?;
    Ok(())
}

#[tokio::test]
async fn a_port_in_use_is_a_clear_error() -> anyhow::Result<()> {
    let taken = TcpListener::bind("127.0.0.1:0")?;
    let port = taken.local_addr()?.port();
    let output = Command::new(binary::halley()?)
        .args(["dev", "--nodes", "1", "--client-port", &port.to_string()])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await?;
    let message = String::from_utf8_lossy(&output.stderr);
    ensure!(!output.status.success());
    ensure!(
        message.contains(&port.to_string()) && message.contains("--client-port"),
        "{message}"
    );
    Ok(())
}
