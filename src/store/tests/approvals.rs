use super::*;
use crate::pipeline::approval::book::RESERVED;

for_each_store! {
    an_approval_lets_a_request_out_that_is_held_elsewhere
    what_is_listed_is_what_was_asked
    the_one_who_waited_longest_goes_first
    an_approval_swallowed_by_one_who_left_goes_to_the_next
    one_approval_is_told_to_one_at_a_time
    one_approval_is_used_once_however_many_try
    a_limit_that_is_reached_uses_no_approval_up
    a_refusal_is_for_all_who_wait_and_all_who_come
    a_question_expires
    an_agent_has_so_many_questions
}

async fn ask(store: &Shared, petition: &Petition) -> (Ticket, Standing) {
    match soon(store.ask(petition)).await {
        Asked::Open { ticket, standing, .. } => (ticket, standing),
        other => panic!("{other:?}"),
    }
}

async fn redeem(store: &Shared, petition: &Petition) -> Result<Redeemed, NotAdmitted> {
    soon(store.admit(&Charges::new(), Some(petition.fingerprint))).await.map(|redeemed| redeemed.expect("it was named"))
}

async fn approve(store: &Shared, ticket: &Ticket) {
    store.answer(ticket, Verdict::Approve, by("ops", Some("fine"))).await.unwrap();
}

fn approved() -> Standing {
    Standing::Approved(by("ops", Some("fine")))
}

/// Waits in a task of its own, and is in the queue when this returns.
async fn wait(store: &Shared, ticket: &Ticket) -> tokio::task::JoinHandle<Standing> {
    let before = waiting(store, ticket).await;
    let task = tokio::spawn(store.wait(ticket, Instant::now() + FAR));
    while waiting(store, ticket).await == before {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    task
}

async fn waiting(store: &Shared, ticket: &Ticket) -> usize {
    let open = store.list().await.unwrap();
    open.into_iter().find(|open| open.ticket == *ticket).map_or(0, |open| open.waiting)
}

async fn an_approval_lets_a_request_out_that_is_held_elsewhere(one: Shared, other: Shared) {
    let refund = petition("a", 1, FAR);
    let (ticket, standing) = ask(&one, &refund).await;
    assert_eq!(standing, Standing::Pending);
    assert!(ticket.starts_with("apr_") && ticket.len() == 24, "{ticket}");
    assert_eq!(redeem(&one, &refund).await, Err(NotAdmitted::NotApproved));
    assert_eq!(one.wait(&ticket, Instant::now()).await, Standing::Pending);
    let held = wait(&one, &ticket).await;
    approve(&other, &ticket).await;
    assert_eq!(held.await.unwrap(), approved());
    assert_eq!(redeem(&one, &petition("b", 1, FAR)).await, Err(NotAdmitted::NotApproved));
    let expected = Redeemed { ticket: ticket.clone(), answered: by("ops", Some("fine")) };
    assert_eq!(redeem(&one, &refund).await, Ok(expected));
    for store in [&one, &other] {
        assert_eq!(redeem(store, &refund).await, Err(NotAdmitted::NotApproved));
        assert_eq!(
            store.answer(&ticket, Verdict::Approve, by("ops", None)).await,
            Err(AnswerError::Unknown(ticket.clone()))
        );
    }
    assert_eq!(one.wait(&ticket, Instant::now() + FAR).await, Standing::Expired);
    let (next, standing) = ask(&other, &refund).await;
    assert_eq!(standing, Standing::Pending);
    assert_ne!(next, ticket);
}

async fn what_is_listed_is_what_was_asked(one: Shared, other: Shared) {
    assert_eq!(other.list().await, Ok(Vec::new()));
    assert_eq!(other.pending().await, Ok(Pending::default()));
    let before = SystemTime::now();
    let (refund, payout) = (petition("a", 1, FAR), petition("b", 2, FAR * 2));
    let first = soon(one.ask(&refund)).await;
    let second = ask(&other, &payout).await.0;
    let Asked::Open { ticket, standing: Standing::Pending, expires, new: true } = first else { panic!("{first:?}") };
    assert!(expires <= FAR && expires > FAR / 2);
    assert!(matches!(soon(other.ask(&refund)).await, Asked::Open { new: false, .. }));

    for store in [&one, &other] {
        let listed = store.list().await.unwrap();
        assert_eq!(listed.iter().map(|open| &open.ticket).collect::<Vec<_>>(), [&ticket, &second]);
        assert_eq!(*listed[0].about, refund.about);
        assert_eq!(*listed[1].about, payout.about);
        assert_eq!(listed[0].standing, Standing::Pending);
        let slack = SECOND;
        assert!(listed[0].asked + slack >= before && listed[0].asked <= SystemTime::now() + slack);
        let open_for = listed[1].expires.duration_since(listed[1].asked).unwrap();
        assert!(open_for > FAR * 2 - slack && open_for < FAR * 2 + slack, "{open_for:?}");
        let pending = store.pending().await.unwrap();
        assert_eq!(pending.count, 2);
        assert!(pending.oldest.is_some_and(|oldest| oldest < FAR));
    }
    let answered = other.answer(&ticket, Verdict::Refuse, by("ops", None)).await.unwrap();
    assert_eq!((answered.about, answered.standing), (Arc::new(refund.about), Standing::Refused(by("ops", None))));
    let listed = one.list().await.unwrap();
    assert_eq!(
        listed.into_iter().find(|open| open.ticket == ticket).unwrap().standing,
        Standing::Refused(by("ops", None))
    );
    assert_eq!(one.pending().await.unwrap().count, 1);
}

async fn the_one_who_waited_longest_goes_first(one: Shared, other: Shared) {
    let refund = petition("a", 1, FAR);
    let ticket = ask(&one, &refund).await.0;
    let first = wait(&one, &ticket).await;
    let second = wait(&other, &ticket).await;
    approve(&one, &ticket).await;
    assert_eq!(first.await.unwrap(), approved());
    assert!(redeem(&one, &refund).await.is_ok());
    assert!(!second.is_finished());
    let reopened = one.list().await.unwrap();
    assert_eq!(
        reopened.iter().map(|open| (&open.standing, open.waiting)).collect::<Vec<_>>(),
        [(&Standing::Pending, 1)]
    );
    approve(&one, &ticket).await;
    assert_eq!(second.await.unwrap(), approved());
    assert!(redeem(&other, &refund).await.is_ok());
    assert_eq!(one.list().await, Ok(Vec::new()));
}

async fn an_approval_swallowed_by_one_who_left_goes_to_the_next(one: Shared, other: Shared) {
    let refund = petition("a", 1, FAR);
    let ticket = ask(&one, &refund).await.0;
    let first = wait(&one, &ticket).await;
    let second = wait(&other, &ticket).await;
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    approve(&one, &ticket).await;
    assert_eq!(second.await.unwrap(), approved());
    // This one does not use it either; a third one may, when it has had its time.
    let third = tokio::spawn(one.wait(&ticket, Instant::now() + FAR));
    assert_eq!(third.await.unwrap(), approved());
    assert!(redeem(&other, &refund).await.is_ok());
}

async fn one_approval_is_told_to_one_at_a_time(one: Shared, other: Shared) {
    let refund = petition("a", 1, FAR);
    let ticket = ask(&one, &refund).await.0;
    approve(&other, &ticket).await;
    let told = Instant::now();
    assert_eq!(ask(&one, &refund).await.1, approved());
    let (_, second) = ask(&other, &refund).await;
    assert!(second == Standing::Pending || told.elapsed() >= RESERVED, "{second:?}");
    assert_eq!(other.wait(&ticket, Instant::now() + FAR).await, approved());
    assert!(told.elapsed() >= RESERVED);
    assert!(redeem(&other, &refund).await.is_ok());
}

async fn one_approval_is_used_once_however_many_try(one: Shared, other: Shared) {
    let refund = petition("a", 1, FAR);
    for _ in 0..20 {
        let ticket = ask(&one, &refund).await.0;
        approve(&other, &ticket).await;
        let tries = (0..16).map(|task| {
            let (store, refund) = ([one.clone(), other.clone()][task % 2].clone(), refund.clone());
            tokio::spawn(async move { redeem(&store, &refund).await })
        });
        let mut used = 0;
        for attempt in tries.collect::<Vec<_>>() {
            match attempt.await.unwrap() {
                Ok(redeemed) => {
                    assert_eq!(redeemed.ticket, ticket);
                    used += 1;
                }
                Err(refused) => assert_eq!(refused, NotAdmitted::NotApproved),
            }
        }
        assert_eq!(used, 1);
    }
}

async fn a_limit_that_is_reached_uses_no_approval_up(one: Shared, other: Shared) {
    let refund = petition("a", 1, FAR);
    let cap: Charges = [charge("cap", "a", 1, FAR, 1)].into_iter().collect();
    assert_eq!(soon(one.admit(&cap, Some(refund.fingerprint))).await, Err(NotAdmitted::NotApproved));
    assert_eq!(soon(one.look(&cap)).await, Ok(()), "what is not approved is not charged");
    soon(one.admit(&cap, None)).await.unwrap();
    let ticket = ask(&one, &refund).await.0;
    approve(&other, &ticket).await;
    let refused = soon(one.admit(&cap, Some(refund.fingerprint))).await;
    assert!(matches!(refused, Err(NotAdmitted::Excess(Excess::Reached { .. }))), "{refused:?}");
    assert!(redeem(&other, &refund).await.is_ok());
}

async fn a_refusal_is_for_all_who_wait_and_all_who_come(one: Shared, other: Shared) {
    let refund = petition("a", 1, FAR);
    let ticket = ask(&one, &refund).await.0;
    let held = [wait(&one, &ticket).await, wait(&other, &ticket).await];
    other.answer(&ticket, Verdict::Refuse, by("ops", Some("no"))).await.unwrap();
    let refused = Standing::Refused(by("ops", Some("no")));
    for held in held {
        assert_eq!(held.await.unwrap(), refused);
    }
    for store in [&one, &other] {
        assert_eq!(ask(store, &refund).await, (ticket.clone(), refused.clone()));
        assert_eq!(redeem(store, &refund).await, Err(NotAdmitted::NotApproved));
        let again = store.answer(&ticket, Verdict::Approve, by("ops", None)).await;
        assert_eq!(again, Err(AnswerError::AlreadyAnswered(ticket.clone())));
    }
    // What was approved can be taken back.
    let payout = petition("a", 2, FAR);
    let ticket = ask(&one, &payout).await.0;
    approve(&one, &ticket).await;
    other.answer(&ticket, Verdict::Refuse, by("ops", None)).await.unwrap();
    assert_eq!(redeem(&one, &payout).await, Err(NotAdmitted::NotApproved));
}

async fn a_question_expires(one: Shared, other: Shared) {
    let expires = Duration::from_millis(300);
    let refund = petition("a", 1, expires);
    let began = Instant::now();
    let ticket = ask(&one, &refund).await.0;
    assert_eq!(other.wait(&ticket, Instant::now() + FAR).await, Standing::Expired);
    assert!(began.elapsed() >= expires - Duration::from_millis(5), "{:?}", began.elapsed());
    assert_eq!(one.list().await, Ok(Vec::new()));
    assert_eq!(one.pending().await, Ok(Pending::default()));
    let late = one.answer(&ticket, Verdict::Approve, by("ops", None)).await;
    assert!(matches!(late, Err(AnswerError::Expired(_) | AnswerError::Unknown(_))), "{late:?}");
    assert_eq!(redeem(&one, &refund).await, Err(NotAdmitted::NotApproved));

    // An approval that is not used runs out as well.
    let (next, standing) = ask(&one, &refund).await;
    assert_eq!(standing, Standing::Pending);
    assert_ne!(next, ticket);
    approve(&other, &next).await;
    while !one.list().await.unwrap().is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(redeem(&one, &refund).await, Err(NotAdmitted::NotApproved));
}

async fn an_agent_has_so_many_questions(one: Shared, other: Shared) {
    for request in 0..20 {
        ask(if request % 2 == 0 { &one } else { &other }, &petition("a", request, FAR)).await;
    }
    for store in [&one, &other] {
        assert_eq!(soon(store.ask(&petition("a", 100, FAR))).await, Asked::TooMany);
        ask(store, &petition("a", 7, FAR)).await;
        ask(store, &petition("b", 100, FAR)).await;
    }
    let ticket = ask(&one, &petition("a", 7, FAR)).await.0;
    one.answer(&ticket, Verdict::Refuse, by("ops", None)).await.unwrap();
    ask(&other, &petition("a", 100, FAR)).await;
}
