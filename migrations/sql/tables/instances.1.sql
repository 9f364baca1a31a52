-- Tasks in ready or in a lease whose name may not have more than so many there: each holds one number of
-- its instance key (the name, and what its metadata say of the field). The primary key is what keeps them
-- from being more; a row goes, or goes on to the next, when its task leaves both places.
create table perdure.instances (
    key text collate "C" not null,
    number integer not null,
    task_id bigint not null,
    primary key (key, number)
);
create unique index instances_task on perdure.instances (task_id);
