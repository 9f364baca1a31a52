-- Names that a worker has registered, with their defaults and the JSON Schemas of their payloads, and how
-- many of them may be in ready or running: max_instances for all names of the definition instances_of, for
-- each value of the metadata's field instances_by if one is named. keep_results replaces the limits of retention.
create table perdure.task_types (
    name text collate "C" primary key,
    queue text collate "C" not null default 'default',
    priority smallint not null default 5,
    requires text[] not null default '{}',
    description text,
    schemas jsonb not null default '{}',
    max_instances integer,
    instances_of text collate "C",
    instances_by text,
    when_full text collate "C" not null default 'queue',
    keep_results interval,
    registered_at timestamptz not null default clock_timestamp()
);
-- Most schemas have none: what asks whether there are any looks here.
create index task_types_limited on perdure.task_types (name) where max_instances is not null;
