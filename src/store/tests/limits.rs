use std::sync::Mutex;

use super::*;

for_each_store! {
    a_limit_is_reached_and_says_when_there_is_room
    either_all_is_charged_or_nothing
    a_changed_limit_keeps_the_count
    a_flood_is_counted_in_little_memory
    no_window_holds_more_however_many_ask_at_once
}

async fn admit(store: &Shared, charges: &[Charge]) -> Result<(), Excess> {
    match soon(store.admit(&charges.iter().cloned().collect(), None)).await {
        Ok(redeemed) => {
            assert_eq!(redeemed, None);
            Ok(())
        }
        Err(NotAdmitted::Excess(excess)) => Err(excess),
        Err(NotAdmitted::NotApproved) => panic!("nothing was to be redeemed"),
    }
}

async fn look(store: &Shared, charges: &[Charge]) -> Result<(), Excess> {
    soon(store.look(&charges.iter().cloned().collect())).await
}

/// How long to wait, where it is for this rule.
fn retry_after(result: Result<(), Excess>, expected: &str) -> Duration {
    match result {
        Err(Excess::Reached { rule, retry_after: Some(after) }) if *rule == *expected => after,
        other => panic!("{other:?}"),
    }
}

async fn a_limit_is_reached_and_says_when_there_is_room(one: Shared, other: Shared) {
    let cap = |agent, units| [charge("cap", agent, 3, FAR, units)];
    assert_eq!(look(&one, &cap("a", 3)).await, Ok(()));
    let before = Instant::now();
    assert_eq!(admit(&one, &cap("a", 1)).await, Ok(()));
    assert_eq!(admit(&other, &cap("a", 1)).await, Ok(()));
    retry_after(look(&one, &cap("a", 2)).await, "cap");
    assert_eq!(admit(&one, &cap("a", 1)).await, Ok(()));
    for store in [&one, &other] {
        let after = retry_after(look(store, &cap("a", 1)).await, "cap");
        assert!(after <= FAR && after >= FAR - before.elapsed(), "{after:?}");
        assert_eq!(admit(store, &cap("a", 4)).await, Err(reached("cap", None)));
        assert_eq!(admit(store, &cap("b", 1)).await, Ok(()), "another agent");
    }
}

async fn either_all_is_charged_or_nothing(one: Shared, other: Shared) {
    let wide = charge("wide", "a", 100, FAR, 1);
    let narrow = charge("narrow", "a", 1, FAR * 2, 1);
    assert_eq!(admit(&one, &[wide.clone(), narrow.clone()]).await, Ok(()));
    for store in [&one, &other, &one] {
        let after = retry_after(admit(store, &[wide.clone(), narrow.clone()]).await, "narrow");
        assert!(after > FAR, "{after:?}");
    }
    let rest = charge("wide", "a", 100, FAR, 99);
    assert_eq!(look(&other, &[charge("wide", "a", 100, FAR, 50), charge("wide", "a", 100, FAR, 49)]).await, Ok(()));
    retry_after(look(&other, &[charge("wide", "a", 100, FAR, 50), charge("wide", "a", 100, FAR, 50)]).await, "wide");
    assert_eq!(admit(&other, &[rest]).await, Ok(()), "what was refused was not charged");
    assert_eq!(admit(&one, &[]).await, Ok(()));
}

async fn a_changed_limit_keeps_the_count(one: Shared, other: Shared) {
    let cap = |most| [charge("cap", "a", most, FAR, 1)];
    for _ in 0..4 {
        assert_eq!(admit(&one, &cap(4)).await, Ok(()));
    }
    retry_after(admit(&other, &cap(4)).await, "cap");
    retry_after(admit(&other, &cap(2)).await, "cap");
    assert_eq!(admit(&other, &cap(5)).await, Ok(()));
    let longer = retry_after(look(&one, &[charge("cap", "a", 5, FAR * 10, 1)]).await, "cap");
    assert!(longer > FAR * 9, "{longer:?}");
}

async fn a_flood_is_counted_in_little_memory(one: Shared, other: Shared) {
    let most = 3000;
    let cap = [charge("cap", "a", most, FAR, 1)];
    for at in 0..most {
        assert_eq!(admit(if at % 2 == 0 { &one } else { &other }, &cap).await, Ok(()), "{at}");
    }
    for store in [&one, &other] {
        let after = retry_after(admit(store, &cap).await, "cap");
        assert!(after <= FAR, "{after:?}");
    }
}

/// What is known of when a request was admitted: not before, not after.
type Admission = (Instant, Instant);

async fn no_window_holds_more_however_many_ask_at_once(one: Shared, other: Shared) {
    let (most, per) = (20, Duration::from_millis(100));
    let admissions: Arc<Mutex<Vec<Admission>>> = Arc::default();
    let end = Instant::now() + per * 10;
    let tasks = (0..16).map(|task| {
        let (store, admissions) = ([one.clone(), other.clone()][task % 2].clone(), admissions.clone());
        tokio::spawn(async move {
            while Instant::now() < end {
                let before = Instant::now();
                let charges = [charge("cap", "a", most, per, 1), charge(&format!("own {task}"), "a", 1000, per, 1)];
                match admit(&store, &charges).await {
                    Ok(()) => admissions.lock().unwrap().push((before, Instant::now())),
                    Err(Excess::Reached { .. }) => tokio::task::yield_now().await,
                    Err(Excess::Unavailable) => panic!("the store is there"),
                }
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    let admissions = std::mem::take(&mut *admissions.lock().unwrap());
    assert_none_too_many(&admissions, most as usize, per);
    // Ten windows went by, and whenever there was room somebody was there to take it.
    assert!((100..=220).contains(&admissions.len()), "{}", admissions.len());
}

/// No group of more than `most` can be shown to lie within one window.
pub(super) fn assert_none_too_many(admissions: &[Admission], most: usize, per: Duration) {
    let mut admissions = admissions.to_vec();
    admissions.sort_by_key(|(_, after)| *after);
    for group in admissions.windows(most + 1) {
        let first = group.iter().map(|(before, _)| *before).min().unwrap();
        let last = group[most].1;
        assert!(last - first >= per, "{} within {:?}", group.len(), last - first);
    }
}
