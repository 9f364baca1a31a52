-- Constraints that are declared for the whole cluster, by hand; each worker has them with its next beat.
-- Where a worker has a probe of the same name, too, both must hold.
create table perdure.constraints (
    name text collate "C" primary key,
    satisfied boolean not null,
    changed_at timestamptz not null default clock_timestamp()
);
