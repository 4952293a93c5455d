//! The handshake of a link, over a fresh byte stream. The caller limits its time.

use std::io;
use std::net::SocketAddr;

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role};
use tokio_tungstenite::tungstenite::{Error as WsError, Message};

use super::{handshake_config, link_config};
use crate::auth::{Acceptor, AcceptorVerified, AuthError, Dialler};
use crate::tls::{self, Binding};
use crate::wire::{
    CLOSE_VERSION, Frame, FrameError, LinkClaim, NONCE_BYTES, Proof, Reached, Refusal, Versions,
};
use crate::{Member, Secrets};

/// The path of the native dialect on the mesh listener.
const PATH: &str = "/halley/mesh";

/// Why there is no link.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DialError {
    #[error("{0}")]
    Connect(io::Error),
    #[error("TLS: {0}")]
    Tls(String),
    #[error(
        "the connection is in clear text, and mesh.tls is set here: is it set on the other node?"
    )]
    ClearText,
    #[error("the connection begins with a TLS handshake, and mesh.tls is not set here")]
    UnexpectedTls,
    #[error("the other side takes TLS only: mesh.tls must be set here as it is there")]
    WantsTls,
    #[error("{0}")]
    WebSocket(#[from] Box<WsError>),
    #[error(
        "the sibling closed the connection during the handshake: are the secret and mesh.tls the same on both nodes?"
    )]
    Closed,
    #[error("{0}")]
    Auth(#[from] AuthError),
    #[error("{0}")]
    Frame(#[from] FrameError),
    #[error("the other side speaks {0} of the mesh protocol")]
    OtherVersions(Versions),
    #[error("an unexpected frame")]
    Unexpected,
    #[error("refused: {0}")]
    Refused(Refusal),
    #[error("no answer in time")]
    Timeout,
    #[error("the network is not allowed")]
    NotAllowed,
}

impl DialError {
    /// Whether certificates or the use of TLS are at fault.
    pub(crate) fn is_of_tls(&self) -> bool {
        matches!(
            self,
            DialError::Tls(_)
                | DialError::ClearText
                | DialError::UnexpectedTls
                | DialError::WantsTls
        )
    }

    /// The same, for an error that came after the stream was open: however it ended, the other side ended it.
    pub(crate) fn in_handshake(self) -> Self {
        match self {
            DialError::Connect(_) | DialError::WebSocket(_) => DialError::Closed,
            error => error,
        }
    }
}

impl From<io::Error> for DialError {
    fn from(error: io::Error) -> Self {
        tls::failure_of(&error).unwrap_or(DialError::Connect(error))
    }
}

impl From<WsError> for DialError {
    fn from(error: WsError) -> Self {
        match error {
            WsError::ConnectionClosed | WsError::AlreadyClosed => DialError::Closed,
            WsError::Io(error) => error.into(),
            // Not proven, and for the log only.
            WsError::Http(answer) if answer.status() == http::StatusCode::UPGRADE_REQUIRED => {
                DialError::WantsTls
            }
            error => DialError::WebSocket(Box::new(error)),
        }
    }
}

/// A link that this node has opened.
#[derive(Debug)]
pub(crate) struct Dialled<S> {
    pub(crate) stream: WebSocketStream<S>,
    pub(crate) version: u8,
    pub(crate) member: Member,
    /// What the acceptor knows of this node's links.
    pub(crate) reached: Reached,
}

/// What a dialler says of itself.
#[derive(Debug)]
pub(crate) struct Introduction {
    pub(crate) versions: Versions,
    pub(crate) nonce: [u8; NONCE_BYTES],
    pub(crate) identity: Member,
    pub(crate) uptime_ms: u64,
    pub(crate) link: LinkClaim,
    /// What is below the stream.
    pub(crate) binding: Binding,
}

/// Opens a link over a stream to `address`.
pub(crate) async fn dial<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    address: SocketAddr,
    secrets: &Secrets,
    me: Introduction,
    frame_bytes: usize,
) -> Result<Dialled<S>, DialError> {
    let url = format!("ws://{address}{PATH}");
    let (mut ws, _) =
        tokio_tungstenite::client_async_with_config(url, stream, Some(handshake_config())).await?;
    let dialler = Dialler::new(me.nonce, me.versions, me.binding);
    send(&mut ws, &Frame::Hello(dialler.hello()), me.versions.max).await?;
    let challenge = match receive(&mut ws).await {
        Ok(Frame::Challenge(challenge)) => challenge,
        Ok(_) => return Err(DialError::Unexpected),
        // What the other side says of its versions is not proven, and is for the log only.
        Err(DialError::OtherVersions(there)) => Err(dialler.no_common_version(there))?,
        Err(DialError::Frame(FrameError::Version(version))) => {
            let (min, max) = (version, version);
            Err(dialler.no_common_version(Versions { min, max }))?
        }
        Err(error) => return Err(error),
    };
    let (proved, proof) = dialler.prove(&challenge, secrets, me.identity, me.uptime_ms, me.link)?;
    send(&mut ws, &Frame::Proof(proof), proved.version()).await?;
    let version = proved.version();
    match receive(&mut ws).await? {
        Frame::Welcome(welcome) => {
            let (member, reached) = proved.welcomed(welcome)?;
            // The acceptor says nothing until it is asked, so no byte can be lost between the two settings.
            let stream = widen(ws, Role::Client, frame_bytes).await;
            Ok(Dialled {
                stream,
                version,
                member,
                reached,
            })
        }
        Frame::Refused(refused) => Err(DialError::Refused(proved.refused(refused)?)),
        _ => Err(DialError::Unexpected),
    }
}

/// A dialler that has proved that it knows the secret, and waits for the answer.
#[derive(Debug)]
pub(crate) struct Verified<S> {
    ws: WebSocketStream<S>,
    verified: AcceptorVerified,
    pub(crate) proof: Proof,
}

/// A connection whose dialect is known, and nothing else.
#[derive(Debug)]
pub(crate) enum Upgraded<S> {
    Native(WebSocketStream<S>),
    Oort(WebSocketStream<S>),
}

/// Upgrades a connection. `oort` is the path of the Oort dialect and its longest message, where it is spoken.
pub(crate) async fn upgrade<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    oort: Option<(&str, usize)>,
) -> Result<Upgraded<S>, DialError> {
    let mut to_oort = false;
    #[expect(
        clippy::result_large_err,
        reason = "the callback's type is the library's"
    )]
    let check_path = |request: &Request, response: Response| {
        let path = request.uri().path();
        to_oort = oort.is_some_and(|(oort, _)| path == oort);
        if to_oort || path == PATH {
            return Ok(response);
        }
        let mut refused = ErrorResponse::new(None);
        *refused.status_mut() = http::StatusCode::NOT_FOUND;
        Err(refused)
    };
    let ws = tokio_tungstenite::accept_hdr_async_with_config(
        stream,
        check_path,
        Some(handshake_config()),
    )
    .await?;
    match oort {
        // A client says nothing until it has been told that it is upgraded, so no byte can be lost here.
        Some((_, message_bytes)) if to_oort => {
            let ws = widen(ws, Role::Server, message_bytes).await;
            Ok(Upgraded::Oort(ws))
        }
        _ => Ok(Upgraded::Native(ws)),
    }
}

/// Lets a dialler prove that it knows the secret. One that cannot is not told why.
pub(crate) async fn accept<S: AsyncRead + AsyncWrite + Unpin>(
    mut ws: WebSocketStream<S>,
    secrets: &Secrets,
    versions: Versions,
    nonce: [u8; NONCE_BYTES],
    binding: Binding,
) -> Result<Verified<S>, DialError> {
    let Frame::Hello(hello) = receive(&mut ws).await? else {
        return Err(DialError::Unexpected);
    };
    let (acceptor, challenge) = match Acceptor::new(hello, nonce, versions, binding) {
        Ok(chosen) => chosen,
        Err(error) => {
            // Told before anything is proven: which release this is shows in its first frames anyway.
            let reason = CloseFrame {
                code: CloseCode::from(CLOSE_VERSION),
                reason: versions.to_string().into(),
            };
            ws.close(Some(reason)).await?;
            return Err(error.into());
        }
    };
    let version = challenge.version;
    send(&mut ws, &Frame::Challenge(challenge), version).await?;
    let Frame::Proof(proof) = receive(&mut ws).await? else {
        return Err(DialError::Unexpected);
    };
    let verified = acceptor.verify(&proof, secrets)?;
    Ok(Verified {
        ws,
        verified,
        proof,
    })
}

impl<S: AsyncRead + AsyncWrite + Unpin> Verified<S> {
    /// Takes the dialler in.
    pub(crate) async fn welcome(
        mut self,
        me: Member,
        reached: Reached,
        frame_bytes: usize,
    ) -> Result<(WebSocketStream<S>, u8), DialError> {
        let version = self.verified.version();
        let welcome = self.verified.welcome(me, reached);
        send(&mut self.ws, &Frame::Welcome(welcome), version).await?;
        // The dialler says nothing until it is welcome, so no byte can be lost between the two settings.
        Ok((widen(self.ws, Role::Server, frame_bytes).await, version))
    }

    /// Sends the dialler away, with the reason.
    pub(crate) async fn refuse(mut self, reason: Refusal) -> Result<(), DialError> {
        let version = self.verified.version();
        let refused = self.verified.refuse(reason);
        send(&mut self.ws, &Frame::Refused(refused), version).await?;
        self.ws.close(None).await?;
        Ok(())
    }
}

async fn widen<S: AsyncRead + AsyncWrite + Unpin>(
    ws: WebSocketStream<S>,
    role: Role,
    frame_bytes: usize,
) -> WebSocketStream<S> {
    WebSocketStream::from_raw_socket(ws.into_inner(), role, Some(link_config(frame_bytes))).await
}

async fn send<S: AsyncRead + AsyncWrite + Unpin>(
    ws: &mut WebSocketStream<S>,
    frame: &Frame,
    version: u8,
) -> Result<(), DialError> {
    Ok(ws.send(Message::Binary(frame.encode(version))).await?)
}

/// The next frame. Anything but a binary message ends the handshake: it bounds what an unproved dialler can send.
async fn receive<S: AsyncRead + AsyncWrite + Unpin>(
    ws: &mut WebSocketStream<S>,
) -> Result<Frame, DialError> {
    match ws.next().await {
        Some(Ok(Message::Binary(bytes))) => Ok(Frame::decode(&bytes)?),
        Some(Ok(Message::Close(Some(close)))) if u16::from(close.code) == CLOSE_VERSION => {
            Err(Versions::parse(&close.reason).map_or(DialError::Closed, DialError::OtherVersions))
        }
        Some(Ok(Message::Close(_))) | None => Err(DialError::Closed),
        Some(Ok(_)) => Err(DialError::Unexpected),
        Some(Err(error)) => Err(error.into()),
    }
}
