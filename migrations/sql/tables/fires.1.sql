-- What became of each instant of a schedule: fired, coalesced, missed, skipped, manual. Instants of one
-- fate that follow one another are one row, at the first of them. The primary key makes it once.
create table perdure.fires (
    schedule_key text collate "C" not null,
    fire_at timestamptz not null,
    fate text collate "C" not null,
    count bigint not null default 1,
    task_id bigint,
    decided_at timestamptz not null default clock_timestamp(),
    primary key (schedule_key, fire_at)
);
-- Retention forgets the oldest.
create index fires_at on perdure.fires (fire_at);
