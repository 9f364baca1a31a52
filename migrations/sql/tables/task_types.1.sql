-- Names that a worker has registered, with their defaults and the JSON Schemas of their payloads.
create table perdure.task_types (
    name text collate "C" primary key,
    queue text collate "C" not null default 'default',
    priority smallint not null default 5,
    requires text[] not null default '{}',
    description text,
    schemas jsonb not null default '{}',
    registered_at timestamptz not null default clock_timestamp()
);
