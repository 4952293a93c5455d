//! CometD's Oort in real JVMs, and Halley nodes, form one cluster: every test once with each version of CometD.

use std::time::Duration;

use halley_tests::java_oort::Cometd;
use tokio::sync::Semaphore;

#[path = "interop_oort/cuts.rs"]
mod cuts;
#[path = "interop_oort/links.rs"]
mod links;
#[path = "interop_oort/messages.rs"]
mod messages;
#[path = "interop_oort/mixed.rs"]
mod mixed;
#[path = "interop_oort/state.rs"]
mod state;
#[path = "interop_oort/traffic.rs"]
mod traffic;

const DEADLINE: Duration = Duration::from_secs(30);

/// More JVMs at a time than a few tests have would only wait for each other.
static PLACES: Semaphore = Semaphore::const_new(3);

/// Runs a test with a version, or says that it is missing.
async fn with(
    cometd: Cometd,
    test: impl AsyncFnOnce(Cometd) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    if !cometd.is_here() {
        let name = cometd.name();
        eprintln!("left out: Oort of CometD {name} was not built, see tests/run");
        return Ok(());
    }
    let _place = PLACES.acquire().await?;
    test(cometd).await
}

macro_rules! of_version {
    ($version:ident, $cometd:ident, $($test:ident: $module:ident;)*) => {
        mod $version {
            use halley_tests::java_oort::Cometd;

            $(#[tokio::test(flavor = "multi_thread")]
            async fn $test() -> anyhow::Result<()> {
                crate::with(Cometd::$cometd, crate::$module::$test).await
            })*
        }
    };
}

macro_rules! of_each_version {
    ($($test:ident: $module:ident;)*) => {
        of_version! { cometd_3_1, V3_1, $($test: $module;)* }
        of_version! { cometd_4_0, V4_0, $($test: $module;)* }
        of_version! { cometd_6_0, V6_0, $($test: $module;)* }
        of_version! { cometd_8_0, V8_0, $($test: $module;)* }
    };
}

of_each_version! {
    a_halley_node_dials_a_java_node: links;
    a_java_node_dials_a_halley_node: links;
    nodes_find_each_other_by_multicast: links;
    a_node_with_another_secret_stays_outside: links;
    a_java_node_that_crashes_has_left_and_comes_back: links;
    a_halley_node_that_leaves_or_crashes_has_left: links;
    messages_are_forwarded_both_ways_once_and_in_order: messages;
    what_nobody_observes_stays_where_it_is: messages;
    two_of_each_become_one_mesh: messages;
    users_are_known_and_reached_both_ways: state;
    parts_of_objects_are_shared_both_ways: state;
    maps_and_lists_are_shared_entry_by_entry_both_ways: state;
    actions_are_forwarded_both_ways: state;

    bytes_travel_from_client_to_client_both_ways: messages;
    what_is_too_long_for_a_java_node_is_not_sent_and_nothing_else_is_lost: messages;
    a_cut_shorter_than_the_interval_loses_and_doubles_nothing: cuts;
    a_cut_longer_than_the_interval_is_a_loss_on_both_sides: cuts;
    three_of_each_lose_one_of_each_and_get_it_back: mixed;
    one_java_node_among_three_halley_nodes: mixed;
    one_halley_node_among_three_java_nodes: mixed;
}
