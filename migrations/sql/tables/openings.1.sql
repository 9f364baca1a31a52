-- Instance keys that are to be looked at: a task has come to wait for an instance, or one may have come
-- free unseen. Appended by whoever is the cause, looked at when that commits, and then by the beats:
-- by them alone where one change opens many keys.
create table perdure.openings (
    id bigserial primary key,
    key text collate "C" not null,
    at_commit boolean not null default true
);
create index openings_key on perdure.openings (key);
