//! Ten minutes of constant load, for `make soak`: does memory or the number of open files grow?

use std::time::Duration;

use crate::load::Load;
use crate::run_for;
use crate::stage::Stage;

const SOAK: Duration = Duration::from_secs(600);

/// Requests before the first look, so that caches and pools are filled.
const WARM_UP: Duration = Duration::from_secs(20);

#[test]
#[ignore = "takes ten minutes: make soak"]
fn soak() {
    run_for(2 * SOAK, async {
        let (stage, _replicas) = Stage::with_replicas::<2>().await;
        let load = Load::start(stage.proxy.service());
        tokio::time::sleep(WARM_UP).await;
        let look = |when: &str| {
            let resident = stage.proxy.memory_kib("VmRSS");
            let folder = format!("/proc/{}/fd", stage.proxy.id());
            let files = std::fs::read_dir(folder).expect("read").count();
            println!("soak {when}: {resident} KiB resident, {files} files open");
            (resident, files)
        };
        let (resident, files) = look("start");
        tokio::time::sleep(SOAK).await;
        let (resident_then, files_then) = look("end");
        load.stop().await.expect_none_failed("soak");
        assert!(resident_then < resident * 3 / 2, "memory grows");
        assert!(files_then < files * 3 / 2, "open files grow");
    });
}
