//! Which request runs next, and with whom.

use super::super::admission::{Bounds, Room};
use super::*;

const MS: Ns = 1_000_000;
const SHARED: Turn = Turn { sole: false, free: true };
const SOLE_TURN: Turn = Turn { sole: true, free: true };

fn batcher(rules: Rules) -> Batcher<u32> {
    let bounds = Bounds { rows: 2000, nbytes: 1 << 20 };
    sharing(&Arc::new(Room::new(bounds)), rules)
}

/// Makes one of several queues of a version, for which so much may wait in all.
fn sharing(own: &Arc<Room>, rules: Rules) -> Batcher<u32> {
    let total = Arc::new(Room::new(Bounds { rows: 2000, nbytes: 1 << 20 }));
    let admission = Arc::new(Admission::new("m".into(), 1, own.clone(), total, 0.05, 64));
    Batcher::new(admission, CostModel::new(&[(1, MS), (64, 2 * MS)]), rules)
}

fn rules() -> Rules {
    Rules { max_rows: 4, max_delay: 0, inline_below: 200_000.0, parallel: 1 }
}

fn item(load: u32, rows: u64) -> Item<u32> {
    Item { load, rows, nbytes: 4, size: rows, deadline: None, key: Some(vec![]), priority: 2, offered: 0 }
}

fn loads(batch: Option<Batch<u32>>) -> Vec<u32> {
    batch.map(|batch| batch.items.iter().map(|item| item.load).collect()).unwrap_or_default()
}

#[test]
fn what_waits_while_a_batch_runs_is_the_next_one() {
    let mut queue = batcher(rules());
    queue.offer(item(0, 1), 0).unwrap();
    assert_eq!(loads(queue.next_batch(0, SHARED, |_, _| true).batch), [0]);
    for load in 1..=5 {
        queue.offer(item(load, 1), 0).unwrap();
    }
    queue.finish(1, MS);
    assert_eq!(loads(queue.next_batch(MS, SHARED, |_, _| true).batch), [1, 2, 3, 4]);
    assert_eq!(loads(queue.next_batch(MS, SHARED, |_, _| true).batch), [5]);
    assert!(queue.is_empty());
}

#[test]
fn a_dear_batch_waits_for_a_thread_and_a_cheap_one_does_not() {
    let mut dear = batcher(rules());
    dear.offer(item(0, 1), 0).unwrap();
    assert!(dear.next_batch(0, SHARED, |_, _| false).blocked);
    let mut cheap = batcher(Rules { inline_below: 1e9, ..rules() });
    assert!(cheap.at_once(1, None, 0, false).unwrap());
    assert!(!cheap.at_once(1, None, 0, false).unwrap(), "one runs");
    cheap.offer(item(1, 1), 0).unwrap();
    assert!(cheap.next_batch(0, SHARED, |_, _| false).batch.unwrap().inline);
}

/// A queue whose runs of one row take 1 ms, where what should take 0.3 is cheap.
fn middling() -> Batcher<u32> {
    let mut queue = batcher(Rules { max_rows: 1, inline_below: 300_000.0, ..rules() });
    (0..2).for_each(|load| _ = queue.offer(item(load, 1), 0).unwrap());
    queue
}

#[test]
fn a_run_a_little_longer_is_on_the_reactor_where_no_other_version_is_asked_for() {
    let mut queue = middling();
    let first = queue.next_batch(0, SOLE_TURN, |_, otherwise| {
        assert_eq!(otherwise, Otherwise::Here);
        false
    });
    assert!(first.batch.unwrap().inline && !first.blocked);
    let last = queue.next_batch(0, SOLE_TURN, |_, _| panic!("nobody waits for a thread's answer"));
    assert!(last.batch.unwrap().inline);
    [MS, 2 * MS].into_iter().for_each(|now| queue.finish(1, now));
    assert!(queue.at_once(1, None, 0, true).unwrap() && !middling().at_once(1, None, 0, false).unwrap());
}

#[test]
fn a_reactor_that_is_not_free_runs_nothing_and_threads_begin_all_the_same() {
    let turn = Turn { free: false, ..SOLE_TURN };
    let mut queue = middling();
    let none = queue.next_batch(0, turn, |_, _| false);
    assert!(none.batch.is_none() && !none.blocked);
    assert!(!queue.next_batch(0, turn, |_, _| true).batch.unwrap().inline);
}

#[test]
fn who_is_left_by_a_batch_that_memory_bounds_may_have_a_thread() {
    let mut queue = batcher(Rules { inline_below: 300_000.0, ..rules() });
    queue.bound_size(1);
    (0..2).for_each(|load| _ = queue.offer(item(load, 1), 0).unwrap());
    assert!(!queue.next_batch(0, SOLE_TURN, |_, _| true).batch.unwrap().inline);
}

#[test]
fn what_would_be_ended_on_a_reactor_is_not_begun_there() {
    let mut queue = batcher(Rules { inline_below: 900_000_000.0, ..rules() });
    queue.costs = CostModel::new(&[(1, 1000 * MS)]);
    queue.offer(item(0, 1), 0).unwrap();
    assert!(queue.next_batch(0, SOLE_TURN, |_, _| false).blocked);
}

#[test]
fn a_core_that_is_idle_takes_part_of_what_waits() {
    let first = middling().next_batch(0, SOLE_TURN, |_, _| true);
    assert!(!first.batch.unwrap().inline);
}

#[test]
fn a_run_a_little_longer_is_no_reactors_where_others_are_asked_for_or_one_took_too_long() {
    let waits = |_, otherwise| {
        assert_eq!(otherwise, Otherwise::Wait);
        false
    };
    assert!(middling().next_batch(0, SHARED, waits).blocked);
    let mut queue = middling();
    assert!(!queue.overran(1, 4 * MS) && queue.overran(1, 5 * MS));
    queue.costs.observe(1, 5 * MS, true);
    assert!(queue.next_batch(0, SOLE_TURN, waits).blocked);
}

#[test]
fn requests_of_another_key_or_with_too_many_rows_do_not_go_along() {
    let mut queue = batcher(rules());
    queue.offer(item(0, 3), 0).unwrap();
    queue.offer(item(1, 2), 1).unwrap();
    queue.offer(Item { key: Some(vec![1]), ..item(2, 1) }, 2).unwrap();
    queue.offer(Item { key: None, ..item(3, 1) }, 3).unwrap();
    let batches: Vec<_> = (0..4).map(|_| loads(queue.next_batch(4, SHARED, |_, _| true).batch)).collect();
    assert_eq!(batches, [vec![0], vec![1], vec![2], vec![3]]);
}

#[test]
fn a_batch_is_no_larger_than_its_memory_and_what_is_by_itself_runs_alone() {
    let mut queue = batcher(Rules { max_rows: 64, ..rules() });
    queue.bound_size(3);
    for load in 0..7 {
        queue.offer(item(load, if load == 2 { 5 } else { 1 }), 0).unwrap();
    }
    assert_eq!(loads(queue.next_batch(0, SHARED, |_, _| true).batch), [0, 1]);
    assert_eq!(loads(queue.next_batch(0, SHARED, |_, _| true).batch), [2]);
    queue.bound_size(2);
    assert_eq!(loads(queue.next_batch(0, SHARED, |_, _| true).batch), [3, 4]);
    queue.bound_size(u64::MAX);
    assert_eq!(loads(queue.next_batch(0, SHARED, |_, _| true).batch), [5, 6]);
}

#[test]
fn a_delay_waits_for_company_and_no_longer() {
    let mut queue = batcher(Rules { max_delay: MS, ..rules() });
    queue.offer(item(0, 1), 0).unwrap();
    assert_eq!(queue.next_batch(0, SHARED, |_, _| true).wake_at, Some(MS));
    assert_eq!(loads(queue.next_batch(MS, SHARED, |_, _| true).batch), [0]);
}

#[test]
fn deadlines_drop_what_is_late_and_refuse_what_is_hopeless() {
    let mut queue = batcher(rules());
    assert_eq!(queue.offer(Item { deadline: Some(5), ..item(0, 1) }, 5).unwrap_err().reason, "DEADLINE_EXPIRED");
    let hopeless = queue.offer(Item { deadline: Some(MS / 2), ..item(0, 1) }, 0).unwrap_err();
    assert_eq!(hopeless.reason, "DEADLINE_UNREACHABLE");
    assert_eq!(hopeless.details, [("left_ms", "0.5".to_string()), ("needed_ms", "1.0".to_string())]);
    queue.offer(Item { deadline: Some(3 * MS), ..item(1, 1) }, 0).unwrap();
    let choice = queue.next_batch(3 * MS, SHARED, |_, _| true);
    assert!(choice.batch.is_none());
    assert_eq!(choice.dropped[0].load, 1);
}

#[test]
fn who_is_cancelled_leaves_and_gives_the_room_back() {
    let mut queue = batcher(rules());
    let ticket = queue.offer(item(0, 1), 0).unwrap();
    assert_eq!(queue.cancel(ticket).unwrap().load, 0);
    assert!(queue.cancel(ticket).is_none());
    assert_eq!(
        (queue.admission.is_waited_for(), queue.next_batch(0, SHARED, |_, _| true).batch.is_none()),
        (false, true)
    );
}

#[test]
fn a_queue_that_is_dropped_gives_its_room_back() {
    let mut queue = batcher(rules());
    queue.offer(item(0, 1), 0).unwrap();
    let admission = queue.admission.clone();
    assert!(admission.is_waited_for());
    drop(queue);
    assert!(!admission.is_waited_for());
}

#[test]
fn what_waits_in_one_queue_takes_room_from_the_others_of_its_version() {
    let own = Arc::new(Room::new(Bounds { rows: 3, nbytes: 1 << 20 }));
    let [mut one, mut other] = [sharing(&own, rules()), sharing(&own, rules())];
    one.offer(item(0, 1), 0).unwrap();
    one.offer(item(1, 2), 0).unwrap();
    assert_eq!(other.check_wait(2, 0).unwrap_err().reason, "QUEUE_FULL");
    assert_eq!(other.offer(item(2, 1), 0).unwrap_err().reason, "QUEUE_FULL");
    assert_eq!(loads(one.next_batch(0, SHARED, |_, _| true).batch), [0, 1]);
    other.offer(item(3, 9), 0).unwrap();
    assert_eq!(own.rows(), 9, "where nothing waits, anything may");
}

#[test]
fn who_runs_at_once_needs_no_room() {
    let own = Arc::new(Room::new(Bounds { rows: 1, nbytes: 1 << 20 }));
    let [mut one, mut other] = [sharing(&own, Rules { inline_below: 1e9, ..rules() }), sharing(&own, rules())];
    other.offer(item(0, 1), 0).unwrap();
    assert!(one.at_once(1, None, 0, false).unwrap());
}

#[test]
fn a_pace_is_believed_as_far_as_somebody_has_waited() {
    let mut queue = batcher(Rules { max_rows: 64, ..rules() });
    queue.offer(item(0, 1), 0).unwrap();
    assert_eq!(queue.next_batch(0, SHARED, |_, _| true).batch.unwrap().items.len(), 1);
    for load in 1..=640 {
        queue.offer(item(load, 1), 0).unwrap();
    }
    queue.finish(1, 10 * MS); // a pace of 10 ms a row, and 640 rows that run within 20 ms
    let waits = |queue: &mut Batcher<u32>, now: Ns| (queue.wait_s(2, now) * 1e6).round();
    assert_eq!(waits(&mut queue, 10 * MS), 20_000.0);
    assert_eq!(waits(&mut queue, 500 * MS), 500_000.0);
    assert_eq!(waits(&mut queue, 9_000 * MS), 6_400_000.0);
    queue.check_wait(2, 10 * MS).unwrap();
    queue.check_wait(2, 51 * MS).unwrap(); // a burst
    for load in 641..=1024 {
        queue.offer(item(load, 1), 10 * MS).unwrap();
    }
    assert_eq!(queue.check_wait(2, 61 * MS).unwrap_err().reason, "QUEUE_FULL");
}
