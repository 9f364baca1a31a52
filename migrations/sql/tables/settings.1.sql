-- What holds for every producer and worker of this schema: limits, and the oldest readable revision.
create table perdure.settings (
    key text collate "C" primary key,
    value jsonb not null
);
insert into perdure.settings (key, value) values
    ('metadata_bytes', '1048576'), ('result_bytes', '1048576'),
    ('checkpoint_bytes', '1048576'), ('error_bytes', '65536'),
    ('readable_from', '"0001"');
