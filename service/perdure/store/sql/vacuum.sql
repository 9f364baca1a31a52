-- Frees the room of tasks that were taken and of leases that are over. Passes over what another vacuums, keeps
-- the files as long as they are: to cut them takes a lock that stops everybody.
vacuum (skip_locked, truncate false) perdure.ready, perdure.leases
