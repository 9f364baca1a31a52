-- What has come to be unserved since the last report: see the function.
select u.queue, u.name, u.tasks, u.why from perdure.report_unserved() as u
