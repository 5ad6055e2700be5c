-- Drops the helpers, and the parts of the schema `auth` that 0001 created. Roles belong to the cluster and stay.

drop function private.touch_updated_at();
drop function private.uuid7();
drop schema private;

do $$
begin
  if pg_catalog.obj_description(to_regprocedure('auth.uid()'), 'pg_proc') = 'mobvibe-shim' then
    drop function auth.uid();
  end if;
  if pg_catalog.obj_description(to_regclass('auth.users'), 'pg_class') = 'mobvibe-shim' then
    drop table auth.users;
  end if;
  if pg_catalog.obj_description(to_regnamespace('auth'), 'pg_namespace') = 'mobvibe-shim' then
    drop function auth.jwt();
    drop function auth.email();
    drop function auth.role();
    drop schema auth;
  end if;
end
$$;
