"""Names that logs give to exd's columns, the likeliest first, in lower case with underscores."""

import re

_NAMES = {
    "timestamp": "timestamp ts event_time event_timestamp evaluated_at evaluation_time exposed_at "
    "exposure_time first_exposure_at exposure_at assigned_at assignment_time "
    "assigned_time activated_at bucketed_at occurred_at time_stamp client_timestamp "
    "client_ts server_timestamp event_ts derived_tstamp event_date_time time datetime "
    "time_unix_nano collector_tstamp dvce_created_tstamp original_timestamp created_at "
    "created event_created_at date_time server_time hit_time event_datetime "
    "evaluation_timestamp exposure_timestamp assignment_timestamp cst event_at "
    "captured_at first_seen first_seen_at log_time logged_at sent_at received_at "
    "received_time ingest_time event_date date",
    "flag_key": "flag_key flag_name feature_flag_key feature_flag_name feature_flag flag_id flag "
    "feature_key feature_name feature_id feature toggle_name toggle_key toggle "
    "experiment_key experiment_id experiment_name experiment_identifier experiment_slug "
    "experiment exp_key exp_id exp_name exp experience_experiment campaign_id "
    "campaign_key campaign_name campaign activity_id activity_name activity ab_test_name "
    "ab_test_id ab_test test_id test_key test_name test_case test split_name split "
    "rollout_name rollout variable_key variable caid experiment_number experiment_code "
    "scope_name parameter_key canvas_id canvas_name layer_name gate_name gate config_name "
    "experience_id experience_key experience_name key",
    "variant_key": "variant_key variant_name variant_id variant variation_key variation_name "
    "variation_id variation combination_id combination_name combination treatment_name "
    "treatment_key treatment_id treatment variant_label variation_label treatment_label "
    "arm_name arm_key arm_id arm experiment_group experiment_variant experiment_variation "
    "group_name group_id group canvas_variation_id canvas_variation_name "
    "message_variation_id message_variation experience_name experience_id experience "
    "branch cohort bucket_name bucket bucket_key variant_group assignment allocation "
    "assigned_group test_group ab_group exposure_group result_variant result "
    "variation_index variant_index variation_value vaid variation_code variant_value "
    "option version_name decision flag_value evaluated_value feature_value value enabled "
    "is_enabled on",
    "unit_id_hash": "unit_id_hash unit_id unit randomization_unit_id targeting_key user_id_hash user_id "
    "userid user_key user_identifier external_user_id external_id usr_id subject_key "
    "subject_id subject visitor_id visitor_key visitor_identifier visitor_uuid visitor "
    "distinct_id identity_id identity_key identifier user_pseudo_id domain_userid "
    "context_key context_id entity_id entity_key person_id member_id profile_id user "
    "anonymous_id anon_id anonymous_user_id client_id tnt_id mcid ecid "
    "marketing_cloud_visitor_id network_userid cookie_id device_id installation_id "
    "instance_id app_instance_id braze_id account_id account_key company_id org_id "
    "organization_id customer_id tenant_id workspace_id visitor_code vis_id vid usr_key "
    "mc_id ecid_id subject_code uuid stable_id user_uuid uid auth_id randomization_id "
    "bucketing_id bucketing_key identifiers_user_id person member user_code session_id id "
    "key",
    "evaluation_id": "evaluation_id exposure_id event_id insert_id message_id event_uuid uuid hit_id "
    "impression_id assignment_id log_id",
    "namespace": "namespace project project_key project_id",
    "environment": "environment environment_key environment_name env env_name deployment_environment",
    "manifest_version": "manifest_version config_version",
    "evaluation_reason": "evaluation_reason reason_kind reason decision_reason result_reason",
    "ingested_at": "ingested_at received_at loaded_at inserted_at processed_at server_upload_time "
    "etl_tstamp load_tstamp process_timestamp uploaded_at",
}
NAMES = {
    column: {name: place for place, name in enumerate(names.split())} for column, names in _NAMES.items()
}
"""By exd's name: own name to its place."""

DISTINCTIVE = {"user_id", "unit_id", "visitor_id", "targeting_key", "anonymous_id", "device_id", "client_id"}
"""Names of units whose values may look like instants."""

PERHAPS_A_ROW = {"id", "uuid", "key", "uid"}
"""Names that a unit may have, but also the row itself."""

PARTS = {
    "flag_key": re.compile(r"experi|flag|feature|campaign|toggle|activit|(^|_)test(_|$)"),
    "variant_key": re.compile(r"varia|(^|_)arm|group|treat|bucket|cohort|branch|option"),
    "unit_id_hash": re.compile(r"id$|(^|_)(user|visitor|customer|client|member|device|account|person)$"),
}
"""What the name of a field has in it that may be that column, where no field has one of its names."""

LATER = re.compile(r"receiv|ingest|process|load|insert|upload|updat|fetch|etl|expire|modif|birth")
"""What the name of an instant has in it that is not that of the exposure."""

EVENT_NAMES = {
    "event",
    "event_name",
    "event_type",
    "type",
    "kind",
    "name",
    "action",
    "event_kind",
    "category",
}
"""Fields that say what a row is."""

EXPOSURE = re.compile(
    r"expos|impress|assign|evaluat|bucket|activat|experiment|variation|variant|treatment|decision|feature|flag"
    r"|ab_?test|campaign|viewed|enter"
)
"""What the name of an exposure has in it."""

MAPS = {"feature_flags", "featureflags", "flags", "experiments", "ab_tests", "toggles", "feature_toggles",
        "variants", "variations", "treatments", "assignments", "features"}  # fmt: skip
"""Objects whose keys are the names of flags."""
