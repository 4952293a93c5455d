//! Stock CometD clients for JavaScript, of three generations, against a real node.

use halley_tests::agent::Agent;
use halley_tests::conversation::{Kind, come_back_after_expiry, go_on_after_a_cut, talk};
use halley_tests::turn::turn;

const COMETD_9: Kind = Kind {
    start: || Agent::browser_with("cometd"),
    subscribes_again: false,
};
const COMETD_7: Kind = Kind {
    start: || Agent::browser_with("cometd-7"),
    subscribes_again: false,
};
const COMETD_3: Kind = Kind {
    start: || Agent::browser_with("cometd-3"),
    subscribes_again: false,
};

macro_rules! conversations {
    ($($test:ident: $what:ident, $kind:ident, $transport:literal;)*) => {$(
        #[tokio::test(flavor = "multi_thread")]
        async fn $test() -> anyhow::Result<()> {
            let _turn = turn().await;
            $what($kind, $transport).await
        }
    )*};
}

conversations! {
    cometd_9_talks_over_websocket: talk, COMETD_9, "websocket";
    cometd_9_talks_over_long_polling: talk, COMETD_9, "long-polling";
    cometd_9_talks_over_callback_polling: talk, COMETD_9, "callback-polling";
    cometd_9_goes_on_after_a_cut_over_websocket: go_on_after_a_cut, COMETD_9, "websocket";
    cometd_9_goes_on_after_a_cut_over_long_polling: go_on_after_a_cut, COMETD_9, "long-polling";
    cometd_9_comes_back_after_expiry_over_websocket: come_back_after_expiry, COMETD_9, "websocket";
    cometd_9_comes_back_after_expiry_over_long_polling: come_back_after_expiry, COMETD_9, "long-polling";

    cometd_7_talks_over_websocket: talk, COMETD_7, "websocket";
    cometd_7_talks_over_long_polling: talk, COMETD_7, "long-polling";
    cometd_7_goes_on_after_a_cut_over_websocket: go_on_after_a_cut, COMETD_7, "websocket";
    cometd_7_goes_on_after_a_cut_over_long_polling: go_on_after_a_cut, COMETD_7, "long-polling";
    cometd_7_comes_back_after_expiry_over_websocket: come_back_after_expiry, COMETD_7, "websocket";
    cometd_7_comes_back_after_expiry_over_long_polling: come_back_after_expiry, COMETD_7, "long-polling";

    cometd_3_talks_over_websocket: talk, COMETD_3, "websocket";
    cometd_3_talks_over_long_polling: talk, COMETD_3, "long-polling";
    cometd_3_goes_on_after_a_cut_over_websocket: go_on_after_a_cut, COMETD_3, "websocket";
    cometd_3_goes_on_after_a_cut_over_long_polling: go_on_after_a_cut, COMETD_3, "long-polling";
    cometd_3_comes_back_after_expiry_over_websocket: come_back_after_expiry, COMETD_3, "websocket";
    cometd_3_comes_back_after_expiry_over_long_polling: come_back_after_expiry, COMETD_3, "long-polling";
}
