//! CometD's Java BayeuxClient against a real node.

use halley_tests::agent::Agent;
use halley_tests::conversation::{Kind, come_back_after_expiry, go_on_after_a_cut, talk};
use halley_tests::turn::turn;

const JAVA: Kind = Kind {
    start: Agent::java,
    subscribes_again: false,
};

macro_rules! conversations {
    ($($test:ident: $what:ident, $transport:literal;)*) => {$(
        #[tokio::test(flavor = "multi_thread")]
        async fn $test() -> anyhow::Result<()> {
            let _turn = turn().await;
            $what(JAVA, $transport).await
        }
    )*};
}

conversations! {
    java_talks_over_websocket: talk, "websocket";
    java_talks_over_long_polling: talk, "long-polling";
    java_goes_on_after_a_cut_over_websocket: go_on_after_a_cut, "websocket";
    java_goes_on_after_a_cut_over_long_polling: go_on_after_a_cut, "long-polling";
    java_comes_back_after_expiry_over_websocket: come_back_after_expiry, "websocket";
    java_comes_back_after_expiry_over_long_polling: come_back_after_expiry, "long-polling";
}
