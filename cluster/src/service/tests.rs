use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::*;
use crate::{Incarnation, Member, NodeId, SendError, StateChannel, StateHandler, StateSender};

fn name(name: &str) -> NodeName {
    NodeName::new(name).unwrap()
}

fn member(of: &str, incarnation: u64) -> Member {
    Member {
        name: name(of),
        incarnation: Incarnation(incarnation),
        mesh_address: ([127, 0, 0, 1], 7400).into(),
        client_url: String::new(),
    }
}

/// Two or more nodes whose messages arrive at once, or are kept back.
#[derive(Clone, Default)]
struct Net(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    nodes: BTreeMap<NodeName, (Member, Option<Services>)>,
    held: Option<Vec<(NodeName, NodeName, Bytes)>>,
}

struct Port(Net, NodeName);

impl StateSender for Port {
    fn this_node(&self) -> Member {
        self.0.0.lock().nodes[&self.1].0.clone()
    }
    fn members(&self) -> Vec<Member> {
        let inner = self.0.0.lock();
        let others = inner.nodes.values().filter(|(m, _)| m.name != self.1);
        others.map(|(member, _)| member.clone()).collect()
    }
    fn send_state(&self, to: &NodeId, _: StateChannel, body: Bytes) -> Result<(), SendError> {
        assert!(body.len() < 1000, "what is too large is not sent");
        let mut inner = self.0.0.lock();
        if let Some(held) = &mut inner.held {
            held.push((self.1.clone(), to.name.clone(), body));
            return Ok(());
        }
        drop(inner);
        self.0.deliver(&self.1, &to.name, body);
        Ok(())
    }
    fn broadcast_state(&self, _: StateChannel, _: Bytes) -> usize {
        0
    }
}

impl Net {
    fn add(&self, of: &str, limits: ServiceLimits) -> Services {
        let entry = (member(of, 1), None);
        self.0.lock().nodes.insert(name(of), entry);
        let services = Services::new(Arc::new(Port(self.clone(), name(of))), limits);
        self.0.lock().nodes.get_mut(&name(of)).unwrap().1 = Some(services.clone());
        services
    }
    fn deliver(&self, from: &NodeName, to: &NodeName, body: Bytes) {
        let inner = self.0.lock();
        let (from, to) = (inner.nodes[from].0.clone(), inner.nodes[to].1.clone());
        drop(inner);
        to.unwrap().received(&from, body);
    }
    fn hold(&self) {
        self.0.lock().held = Some(Vec::new());
    }
    fn release(&self) {
        let held = self.0.lock().held.take().unwrap();
        for (from, to, body) in held {
            self.deliver(&from, &to, body);
        }
    }
}

/// Says what it was asked; `fail`, `drop` and `large` do that, `wait` keeps the reply.
#[derive(Default)]
struct Echo(Mutex<Vec<Reply>>);

impl Action for Echo {
    fn perform(&self, parameter: Bytes, asked_by: &NodeName, reply: Reply) {
        match parameter.as_ref() {
            b"fail" => reply.fail(Bytes::from_static(b"no")),
            b"drop" => {}
            b"large" => reply.succeed(vec![0; 10_000].into()),
            b"wait" => self.0.lock().push(reply),
            other => reply.succeed([asked_by.as_str().as_bytes(), b":", other].concat().into()),
        }
    }
}

const LIMITS: ServiceLimits = ServiceLimits {
    timeout: Duration::from_secs(5),
    bytes_max: 100,
    asked_max: 3,
    served_max: 2,
};

struct Pair {
    net: Net,
    a: Services,
    service: OortService,
    echo: Arc<Echo>,
}

/// Node `a` asks, node `b` owns everything.
fn pair() -> Pair {
    let net = Net::default();
    let (a, b) = (net.add("a", LIMITS), net.add("b", LIMITS));
    let echo = Arc::new(Echo::default());
    let ownership = |_: &[u8]| Some(name("b"));
    b.offer("echo", Arc::new(ownership), echo.clone()).unwrap();
    let service = a.offer("echo", Arc::new(ownership), echo.clone()).unwrap();
    Pair {
        net,
        a,
        service,
        echo,
    }
}

impl Pair {
    async fn ask(&self, parameter: &'static str) -> Result<Bytes, ForwardError> {
        self.service
            .forward(Bytes::from_static(parameter.as_bytes()))
            .await
    }
}

#[tokio::test(start_paused = true)]
async fn the_owner_answers_with_success_or_failure() {
    let pair = pair();
    assert_eq!(pair.ask("x").await.unwrap(), "a:x");
    let failed = ForwardError::Failed(Bytes::from_static(b"no"));
    assert_eq!(pair.ask("fail").await, Err(failed));
    assert_eq!(pair.ask("drop").await, Err(ForwardError::Dropped));
    let too_large = |size| Err(ForwardError::TooLarge { size, max: 100 });
    assert_eq!(pair.ask("large").await, too_large(10_000));
    let long = pair.service.forward(vec![0; 102].into()).await;
    assert_eq!(long, too_large(102));
    // What this node owns is done here.
    let (a, x) = (name("a"), Bytes::from_static(b"x"));
    assert_eq!(pair.service.forward_to(&a, x).await.unwrap(), "a:x");
    assert_eq!(pair.a.asked(), 0);
}

#[tokio::test(start_paused = true)]
async fn without_an_answer_time_is_up_and_a_late_one_changes_nothing() {
    let pair = pair();
    pair.net.hold();
    let began = tokio::time::Instant::now();
    assert_eq!(
        pair.ask("x").await,
        Err(ForwardError::Timeout(LIMITS.timeout))
    );
    assert_eq!(began.elapsed(), LIMITS.timeout);
    assert_eq!(pair.a.asked(), 0);
    pair.net.release();
    assert_eq!(pair.ask("y").await.unwrap(), "a:y");
}

#[tokio::test(start_paused = true)]
async fn an_owner_that_leaves_is_a_failure_at_once() {
    let pair = pair();
    let began = tokio::time::Instant::now();
    let leaves = async {
        while pair.a.asked() == 0 {
            tokio::task::yield_now().await;
        }
        // Another life of the same name is somebody else.
        pair.a.left(&member("b", 9));
        assert_eq!(pair.a.asked(), 1);
        pair.a.left(&member("b", 1));
    };
    let (outcome, ()) = tokio::join!(pair.ask("wait"), leaves);
    assert_eq!(outcome, Err(ForwardError::OwnerLeft(name("b"))));
    assert_eq!(began.elapsed(), Duration::ZERO);
    let nobody = pair.service.forward_to(&name("c"), Bytes::new()).await;
    assert_eq!(nobody, Err(ForwardError::NotMember(name("c"))));
}

#[tokio::test(start_paused = true)]
async fn actions_under_way_are_bounded_on_both_sides() {
    let pair = pair();
    let after = async {
        // Two are at work, the third was one too many for the owner; a fourth and fifth fill this node's own bound.
        while pair.echo.0.lock().len() < 2 {
            tokio::task::yield_now().await;
        }
        assert_eq!(pair.ask("x").await, Err(ForwardError::Busy(name("b"))));
        pair.net.hold();
        let (third, fourth) = tokio::join!(pair.ask("x"), pair.ask("x"));
        assert_eq!(third, Err(ForwardError::Timeout(LIMITS.timeout)));
        assert_eq!(fourth, Err(ForwardError::TooMany(3)));
    };
    let (first, second, ()) = tokio::join!(pair.ask("wait"), pair.ask("wait"), after);
    assert_eq!(
        (first, second),
        (
            Err(ForwardError::Timeout(LIMITS.timeout)),
            Err(ForwardError::Timeout(LIMITS.timeout)),
        )
    );
    // When the owner is done it takes more.
    pair.net.release();
    pair.echo.0.lock().clear();
    assert_eq!(pair.ask("x").await.unwrap(), "a:x");
}

#[tokio::test(start_paused = true)]
async fn only_whom_was_asked_may_answer() {
    let pair = pair();
    let _c = pair.net.add("c", LIMITS);
    let forges = async {
        while pair.a.asked() == 0 {
            tokio::task::yield_now().await;
        }
        for id in 0..10 {
            let forged = frame::ServiceFrame::Result {
                id,
                verdict: frame::Verdict::Success,
                data: Bytes::new(),
            };
            pair.a.received(&member("c", 1), forged.encode());
        }
        assert_eq!(pair.a.asked(), 1);
        let reply = pair.echo.0.lock().pop().unwrap();
        reply.succeed(Bytes::from_static(b"true"));
    };
    let (outcome, ()) = tokio::join!(pair.ask("wait"), forges);
    assert_eq!(outcome.unwrap(), "true");
}

#[test]
fn names_are_checked() {
    let net = Net::default();
    let a = net.add("a", LIMITS);
    let ownership = Arc::new(|_: &[u8]| None::<NodeName>);
    let offer = |name: &str| a.offer(name, ownership.clone(), Arc::new(Echo::default()));
    assert_eq!(offer("").unwrap_err(), RegisterError::Name);
    assert_eq!(offer(&"x".repeat(257)).unwrap_err(), RegisterError::Name);
    assert!(offer("x").is_ok());
    assert_eq!(offer("x").unwrap_err(), RegisterError::Taken("x".into()));
}
