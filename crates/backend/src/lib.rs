//! Server connections, pools and lending, health and roles, cancel; publishes the cluster view.
