-- Which login has been granted what; applied again at the end of each migrate.
create table perdure.access (
    role text collate "C" not null,
    login text not null,
    granted_at timestamptz not null default clock_timestamp(),
    primary key (role, login)
);
