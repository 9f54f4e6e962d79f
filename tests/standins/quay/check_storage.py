"""What Quay's storage drivers take, and what they are refused for. They are called with the settings as they stand, so that one
too many is as wrong as one too few."""

import os

GATEWAY = "hostname is_secure storage_path access_key secret_key bucket_name"
GATEWAY_MORE = "region_name signature_version port maximum_chunk_size_mb server_side_assembly"
S3_MORE = ("s3_access_key s3_secret_key aws_session_token host port endpoint_url s3_region region signature_version "
           "minimum_chunk_size_mb maximum_chunk_size_mb maximum_chunk_size_gb max_retries")
# What a driver needs, and what else it takes; `*` is anything.
DRIVERS = {
    "LocalStorage": ("storage_path", ""),
    "RadosGWStorage": (GATEWAY, GATEWAY_MORE + " minimum_chunk_size_mb"),
    "RHOCSStorage": (GATEWAY, GATEWAY_MORE + " minimum_chunk_size_mb"),
    "IBMCloudStorage": (GATEWAY, GATEWAY_MORE),
    "S3Storage": ("s3_bucket storage_path", S3_MORE),
    "STSS3Storage": ("s3_bucket storage_path sts_role_arn sts_user_access_key sts_user_secret_key", S3_MORE + " sts_web_identity_token_file"),
    "GoogleCloudStorage": ("storage_path access_key secret_key bucket_name", "boto_timeout *"),
    "SwiftStorage": ("storage_path swift_container auth_url swift_user swift_password", "*"),
    "AzureStorage": ("azure_container storage_path azure_account_name", "*"),
    "CloudFrontedS3Storage": ("s3_bucket storage_path cloudfront_distribution_domain cloudfront_key_id cloudfront_privatekey_filename", "*"),
    "CloudFlareStorage": ("s3_bucket storage_path cloudflare_domain", "*"),
    "MultiCDNStorage": ("providers default_provider storage_config", "*"),
}
# Drivers that sign with a key, and where its file is named.
KEY_FILES = {"CloudFrontedS3Storage": "cloudfront_privatekey_filename", "CloudFlareStorage": "cloudflare_privatekey_filename"}


def faults(config, folder):
    locations = config.get("DISTRIBUTED_STORAGE_CONFIG")
    if not isinstance(locations, dict) or not locations:
        yield "DISTRIBUTED_STORAGE_CONFIG needs a location"
        return
    for name, entry in locations.items():
        if not isinstance(entry, list) or len(entry) != 2 or not isinstance(entry[0], str) or not isinstance(entry[1], dict):
            yield f"DISTRIBUTED_STORAGE_CONFIG: {name} is a list of a driver and its settings"
            continue
        driver, settings = entry
        if driver not in DRIVERS:
            yield f"DISTRIBUTED_STORAGE_CONFIG: {name}: there is no storage driver {driver}"
            continue
        needs, more = (set(words.split()) for words in DRIVERS[driver])
        for missing in sorted(needs - settings.keys()):
            yield f"{driver}.__init__() missing 1 required positional argument: '{missing}'"
        for unknown in sorted(settings.keys() - needs - more) if "*" not in more else []:
            yield f"{driver}.__init__() got an unexpected keyword argument '{unknown}'"
        if driver in KEY_FILES and not os.path.exists(os.path.join(folder, str(settings.get(KEY_FILES[driver])))):
            yield f"{driver}: its key {settings.get(KEY_FILES[driver])} is not in {folder}"
        if driver == "LocalStorage" and config.get("FEATURE_STORAGE_REPLICATION"):
            yield "FEATURE_STORAGE_REPLICATION is not supported by LocalStorage"


def preferred(config):
    """The driver and settings that images go to; `None` where none is preferred: Quay starts, and a push fails."""
    locations = config["DISTRIBUTED_STORAGE_CONFIG"]
    for name in config.get("DISTRIBUTED_STORAGE_PREFERENCE") or []:
        if name in locations:
            return locations[name]
    return None
