//! Faye's client against a real node. It handshakes over long-polling and takes the WebSocket from there, with the same session.

use halley_tests::agent::Agent;
use halley_tests::conversation::{Kind, come_back_after_expiry, go_on_after_a_cut, talk};
use halley_tests::turn::turn;

const FAYE: Kind = Kind {
    start: Agent::faye,
    subscribes_again: true,
};

macro_rules! conversations {
    ($($test:ident: $what:ident, $transport:literal;)*) => {$(
        #[tokio::test(flavor = "multi_thread")]
        async fn $test() -> anyhow::Result<()> {
            let _turn = turn().await;
            $what(FAYE, $transport).await
        }
    )*};
}

conversations! {
    faye_talks_over_websocket: talk, "websocket";
    faye_talks_over_long_polling: talk, "long-polling";
    faye_goes_on_after_a_cut_over_websocket: go_on_after_a_cut, "websocket";
    faye_goes_on_after_a_cut_over_long_polling: go_on_after_a_cut, "long-polling";
    faye_comes_back_after_expiry_over_websocket: come_back_after_expiry, "websocket";
    faye_comes_back_after_expiry_over_long_polling: come_back_after_expiry, "long-polling";
}
