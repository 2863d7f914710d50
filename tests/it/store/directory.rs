//! The directory: tokens of clients, users, groups, and what their changes end.

use writ::audit::Source;
use writ::id::{GrantId, Group, ResourceId, ScimTokenId};
use writ::policy::grant::GrantSubject;
use writ::revocation::Target;
use writ::store::{
    AuditQuery, DirectoryGroup, DirectoryUser, Ended, Find, GroupChange, ScimToken, Store, StoreError, UserChange,
    UserStanding,
};

use crate::store::make::{AT, LATER, agent, event, grant, name};
use crate::store::{Database, for_every_backend};

for_every_backend!(
    a_clients_secret_is_found_by_its_hash_until_it_is_removed,
    a_user_is_written_over_the_version_before_and_no_other,
    a_name_that_is_blocked_stays_so_until_it_is_lifted_and_ends_once,
    who_leaves_a_group_loses_what_its_grants_gave_unless_another_group_has_them,
    who_leaves_a_group_of_operators_loses_every_login,
    of_many_who_leave_the_grants_end,
    a_directory_is_listed_in_the_order_of_creation,
);

fn resource(n: u16) -> ResourceId {
    let mut bytes = [0; 16];
    bytes[..2].copy_from_slice(&n.to_be_bytes());
    ResourceId::from_bytes(bytes)
}

fn user(n: u16) -> DirectoryUser {
    let user_name = format!("User-{n}");
    DirectoryUser {
        provider: name("corp"),
        id: resource(n),
        position: 0,
        name: user_name.as_str().into(),
        name_key: user_name.to_lowercase().into(),
        user_name_key: user_name.to_lowercase().into(),
        user_name: user_name.into(),
        external_id: Some(format!("x{n}").into()),
        active: true,
        attributes: "{}".into(),
        version: 1,
        created: AT,
        updated: AT,
    }
}

fn subject(n: u16) -> Target {
    Target::Subject(name("acme"), format!("corp:User-{n}").parse().unwrap())
}

const fn as_it_is(user: &DirectoryUser) -> UserChange<'_> {
    UserChange { user, addresses: &[], removed: false, blocks: &[], lifts: None }
}

async fn write(store: &dyn Store, user: &DirectoryUser) -> Option<Ended> {
    store.change_user(&as_it_is(user), LATER, AT, &event()).await.unwrap()
}

async fn found(store: &dyn Store, find: Find<'_>) -> Vec<DirectoryUser> {
    store.directory_users(&name("corp"), &find, 100).await.unwrap()
}

async fn standing(store: &dyn Store, n: u16) -> UserStanding {
    let user = user(n);
    store.standing(&name("corp"), &user.name, &user.name_key).await.unwrap()
}

async fn a_clients_secret_is_found_by_its_hash_until_it_is_removed(db: &Database) {
    let token = |n: u8| ScimToken {
        id: ScimTokenId::from_bytes([n; 16]),
        provider: name("corp"),
        secret_sha256: [n; 32],
        created: AT,
    };
    db.store.add_scim_token(&token(1), &event()).await.unwrap();
    db.store.add_scim_token(&token(2), &event()).await.unwrap();
    assert!(matches!(db.store.add_scim_token(&token(2), &event()).await, Err(StoreError::Conflict(_))));
    assert_eq!(db.store.scim_tokens().await.unwrap(), [token(1), token(2)]);
    assert_eq!(db.store.scim_token_by_secret(&[2; 32]).await.unwrap(), Some(token(2)));
    db.store.remove_scim_token(token(2).id, AT, &event()).await.unwrap();
    assert_eq!(db.store.scim_token_by_secret(&[2; 32]).await.unwrap(), None);
    assert!(matches!(db.store.remove_scim_token(token(2).id, AT, &event()).await, Err(StoreError::NotFound(_))));
}

async fn a_user_is_written_over_the_version_before_and_no_other(db: &Database) {
    let store = &*db.store;
    assert_eq!(write(store, &user(1)).await, Some(Ended::Nothing));
    let position = found(store, Find::Id(resource(1))).await[0].position;
    assert_eq!(found(store, Find::Id(resource(1))).await, [DirectoryUser { position, ..user(1) }]);
    let second = DirectoryUser {
        version: 2,
        attributes: "{\"a\":1}".into(),
        active: false,
        updated: LATER,
        position,
        ..user(1)
    };
    assert_eq!(write(store, &second).await, Some(Ended::Nothing));
    assert_eq!(found(store, Find::Id(resource(1))).await, [second]);
    for version in [1, 2, 4] {
        let records = store.audit_head(&Source::Authority).await.unwrap();
        assert_eq!(write(store, &DirectoryUser { version, ..user(1) }).await, None);
        assert_eq!(store.audit_head(&Source::Authority).await.unwrap(), records);
    }
    assert_eq!(write(store, &DirectoryUser { version: 2, ..user(2) }).await, None, "there is no first one");
    let taken = DirectoryUser { id: resource(9), ..user(1) };
    assert!(matches!(store.change_user(&as_it_is(&taken), LATER, AT, &event()).await, Err(StoreError::Conflict(_))));
    // Of another directory it is another name.
    write(store, &DirectoryUser { provider: name("partner"), ..user(1) }).await.unwrap();
    // Addresses are those of the last version.
    let addressed = async |version, addresses: &[Box<str>]| {
        let user = DirectoryUser { version, ..user(1) };
        let change = UserChange { addresses, ..as_it_is(&user) };
        store.change_user(&change, LATER, AT, &event()).await.unwrap().unwrap();
    };
    let at = async |address: &str| store.users_at(&name("corp"), address, 5).await.unwrap();
    addressed(3, &["email:a".into(), "email:a".into(), "phone:1".into()]).await;
    assert_eq!((at("email:a").await, at("phone:1").await.len()), (vec!["User-1".into()], 1));
    addressed(4, &["email:b".into()]).await;
    assert_eq!((at("email:a").await.len(), at("email:b").await.len()), (0, 1));
    let gone = DirectoryUser { version: 5, ..user(1) };
    store.change_user(&UserChange { removed: true, ..as_it_is(&gone) }, LATER, AT, &event()).await.unwrap().unwrap();
    assert_eq!((found(store, Find::Id(resource(1))).await.len(), at("email:b").await.len()), (0, 0));
    assert_eq!(store.gone(&name("corp"), resource(1)).await.unwrap(), None, "nothing ended with it");
}

async fn a_name_that_is_blocked_stays_so_until_it_is_lifted_and_ends_once(db: &Database) {
    let store = &*db.store;
    write(store, &user(1)).await.unwrap();
    let block = [(user(1).name, user(1).name_key, subject(1))];
    let change = async |version, removed, blocked: bool, lifts: Option<&str>| {
        let user = DirectoryUser { version, ..user(1) };
        let blocks = if blocked { &block[..] } else { &[] };
        store
            .change_user(&UserChange { removed, blocks, lifts, ..as_it_is(&user) }, LATER, AT, &event())
            .await
            .unwrap()
            .unwrap()
    };
    assert_eq!(standing(store, 1).await, UserStanding::default());
    let Ended::Now(entry) = change(2, false, true, None).await else { panic!("nothing ended") };
    assert_eq!((entry.seq, &entry.target), (1, &subject(1)));
    assert!(standing(store, 1).await.blocked);
    assert_eq!(change(3, false, true, None).await, Ended::Before(1));
    assert!(!store.is_suspended(&name("acme"), &name("corp:User-1")).await.unwrap(), "that is an operator's word");
    assert_eq!(change(4, false, false, Some("user-1")).await, Ended::Nothing);
    assert!(!standing(store, 1).await.blocked);
    let Ended::Now(entry) = change(5, true, true, None).await else { panic!("nothing ended") };
    assert_eq!(store.gone(&name("corp"), resource(1)).await.unwrap(), Some(entry.seq));
    assert!(standing(store, 1).await.blocked, "deleted is blocked");
    let partner = store.standing(&name("partner"), "User-1", "user-1").await.unwrap();
    assert_eq!(partner, UserStanding::default(), "another provider's user is another one");
    // A name that is spelled otherwise is nobody's.
    write(store, &user(2)).await.unwrap();
    assert!(store.standing(&name("corp"), "USER-2", "user-2").await.unwrap().blocked);
    let text = serde_json::to_string(&store.audit(&AuditQuery { limit: 100, ..AuditQuery::default() }).await.unwrap())
        .unwrap();
    assert_eq!(text.matches("ended_seq").count(), 2, "{text}");
}

fn group(n: u16, group: &str) -> DirectoryGroup {
    DirectoryGroup {
        provider: name("corp"),
        id: resource(n),
        position: 0,
        name: group.parse().unwrap(),
        external_id: None,
        version: 1,
        created: AT,
        updated: AT,
        ended: None,
    }
}

/// What the change ended, by target.
async fn change_group(
    store: &dyn Store,
    group: &DirectoryGroup,
    removed: bool,
    joining: &[ResourceId],
    leaving: &[ResourceId],
) -> Vec<Target> {
    let before = store.revocation_head().await.unwrap();
    let tenant = name("acme");
    let roles = [name("admins")];
    let change = GroupChange { group, tenant: &tenant, user_prefix: "corp:", removed, joining, leaving, roles: &roles };
    store.change_group(&change, LATER, AT, &event()).await.unwrap().unwrap();
    store.revocations_after(before, 100).await.unwrap().into_iter().map(|entry| entry.target).collect()
}

async fn granted(store: &dyn Store, n: u8, who: &str, group: &str) -> GrantId {
    let granted = grant(n, who);
    let to = GrantSubject { group: Some(group.parse().unwrap()), ..granted.to.clone() };
    store.add_grant(&writ::policy::Grant { to, ..granted.clone() }, AT, &event()).await.unwrap();
    granted.id
}

async fn who_leaves_a_group_loses_what_its_grants_gave_unless_another_group_has_them(db: &Database) {
    let store = &*db.store;
    for n in 1..4 {
        write(store, &user(n)).await.unwrap();
    }
    store.register_agent(&agent("planner", 1), &event()).await.unwrap();
    store.register_agent(&agent("writer", 2), &event()).await.unwrap();
    let (one, two, three) = (resource(1), resource(2), resource(3));
    let finance: Group = "finance".parse().unwrap();
    assert_eq!(change_group(store, &group(10, "finance"), false, &[one, two, resource(99)], &[]).await, []);
    assert_eq!(standing(store, 1).await.groups, [finance]);
    assert_eq!(store.known_users(&name("corp"), &[one, resource(99)]).await.unwrap(), [one]);
    let version = |version, of: &DirectoryGroup| DirectoryGroup { version, ..of.clone() };
    // Without a grant nothing ends.
    assert_eq!(change_group(store, &version(2, &group(10, "finance")), false, &[three], &[two]).await, []);
    granted(store, 1, "planner", "finance").await;
    granted(store, 2, "planner", "finance").await;
    granted(store, 3, "writer", "finance").await;
    granted(store, 4, "writer", "Finance").await;
    let acting = |who: &str, n: u16| Target::Acting(name("acme"), name(who), format!("corp:User-{n}").parse().unwrap());
    let ended = change_group(store, &version(3, &group(10, "finance")), false, &[two], &[one]).await;
    assert_eq!(ended, [acting("planner", 1), acting("writer", 1)]);
    assert_eq!(standing(store, 1).await.groups, []);
    let stored = store.directory_groups(&name("corp"), &Find::Id(resource(10)), 1).await.unwrap().remove(0);
    assert_eq!(stored.ended, Some(2));
    // Who is in another group of that name has it still.
    assert_eq!(change_group(store, &group(11, "finance"), false, &[two], &[]).await, []);
    assert_eq!(change_group(store, &version(4, &stored), false, &[], &[two]).await, []);
    // With another name, all of them have left.
    let renamed = DirectoryGroup { name: "others".parse().unwrap(), ..version(5, &stored) };
    assert_eq!(change_group(store, &renamed, false, &[], &[]).await, [acting("planner", 3), acting("writer", 3)]);
    assert_eq!(standing(store, 3).await.groups, ["others".parse().unwrap()]);
    assert_eq!(
        change_group(store, &version(2, &group(11, "finance")), true, &[], &[]).await,
        [acting("planner", 2), acting("writer", 2)]
    );
    assert_eq!(store.gone(&name("corp"), resource(11)).await.unwrap(), Some(6));
    assert_eq!(store.directory_groups(&name("corp"), &Find::Name("finance"), 5).await.unwrap(), []);
    let tenant = name("acme");
    let old = version(3, &stored);
    let change = GroupChange {
        group: &old,
        tenant: &tenant,
        user_prefix: "",
        removed: false,
        joining: &[],
        leaving: &[],
        roles: &[],
    };
    assert_eq!(store.change_group(&change, LATER, AT, &event()).await.unwrap(), None);
}

async fn who_leaves_a_group_of_operators_loses_every_login(db: &Database) {
    let store = &*db.store;
    for n in 1..4 {
        write(store, &user(n)).await.unwrap();
    }
    let (one, two, three) = (resource(1), resource(2), resource(3));
    let of = |n: u16| Target::Subject(name("acme"), format!("corp:User-{n}").parse().unwrap());
    assert_eq!(change_group(store, &group(10, "admins"), false, &[one, two, three], &[]).await, []);
    assert_eq!(change_group(store, &group(11, "admins"), false, &[three], &[]).await, []);
    let stored = store.directory_groups(&name("corp"), &Find::Id(resource(10)), 1).await.unwrap().remove(0);
    let next = DirectoryGroup { version: 2, ..stored.clone() };
    assert_eq!(change_group(store, &next, false, &[], &[one, three]).await, [of(1)], "another group of that name");
    let renamed = DirectoryGroup { name: "others".parse().unwrap(), version: 3, ..stored };
    assert_eq!(change_group(store, &renamed, false, &[], &[]).await, [of(2)]);
    assert_eq!(
        change_group(store, &DirectoryGroup { version: 2, ..group(11, "admins") }, true, &[], &[]).await,
        [of(3)]
    );
}

async fn of_many_who_leave_the_grants_end(db: &Database) {
    let store = &*db.store;
    store.register_agent(&agent("planner", 1), &event()).await.unwrap();
    let id = granted(store, 1, "planner", "finance").await;
    let members: Vec<_> = (0..120).map(resource).collect();
    for n in 0..120 {
        write(store, &user(n)).await.unwrap();
    }
    change_group(store, &group(999, "finance"), false, &members, &[]).await;
    let stored = store.directory_groups(&name("corp"), &Find::Skip(0), 5).await.unwrap().remove(0);
    assert_eq!(store.memberships_of_groups(&name("corp"), stored.position, stored.position).await.unwrap().len(), 120);
    assert_eq!(store.known_users(&name("corp"), &members).await.unwrap().len(), 120);
    let few = change_group(store, &DirectoryGroup { version: 2, ..stored.clone() }, false, &[], &members[..4]).await;
    assert_eq!(few.len(), 4);
    assert_eq!(
        change_group(store, &DirectoryGroup { version: 3, ..stored.clone() }, false, &[], &members[4..]).await,
        [Target::Grant(id)]
    );
    assert_eq!(store.memberships_of_groups(&name("corp"), stored.position, stored.position).await.unwrap(), []);
}

async fn a_directory_is_listed_in_the_order_of_creation(db: &Database) {
    let store = &*db.store;
    for n in [3, 1, 2] {
        write(store, &user(n)).await.unwrap();
    }
    write(store, &DirectoryUser { version: 2, ..user(3) }).await.unwrap();
    let names = |users: Vec<DirectoryUser>| users.into_iter().map(|user| user.user_name).collect::<Vec<_>>();
    let all = found(store, Find::Skip(0)).await;
    let second = all[1].position;
    assert_eq!(names(all), ["User-3".into(), "User-1".into(), "User-2".into()] as [Box<str>; 3]);
    assert_eq!(names(found(store, Find::Skip(2)).await), ["User-2".into()] as [Box<str>; 1]);
    assert_eq!(names(found(store, Find::After(second)).await), ["User-2".into()] as [Box<str>; 1]);
    assert_eq!(names(found(store, Find::Name("user-1")).await), ["User-1".into()] as [Box<str>; 1]);
    assert_eq!(names(found(store, Find::ExternalId("x2")).await), ["User-2".into()] as [Box<str>; 1]);
    assert_eq!(store.directory_size(&name("corp")).await.unwrap(), (3, 0));
    change_group(store, &group(7, "g"), false, &[resource(1), resource(2)], &[]).await;
    assert_eq!(store.directory_size(&name("corp")).await.unwrap(), (3, 1));
    let of_second = store.memberships_of_users(&name("corp"), second, second).await.unwrap();
    assert_eq!((of_second.len(), of_second[0].user, of_second[0].group), (1, resource(1), resource(7)));
}
