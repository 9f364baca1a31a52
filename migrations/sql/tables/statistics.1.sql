-- Counts for people: one row per worker, minute, name and state, so that no page counts a ledger.
create table perdure.statistics (
    worker_id bigint not null,
    minute timestamptz not null,
    name text collate "C" not null,
    state text collate "C" not null,
    queue text collate "C" not null default 'default',
    count bigint not null,
    seconds double precision not null,
    primary key (minute, worker_id, name, queue, state)
);
