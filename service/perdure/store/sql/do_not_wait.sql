-- In this transaction a lock that is not free within a moment is 55P03.
select set_config('lock_timeout', '5ms', true)
