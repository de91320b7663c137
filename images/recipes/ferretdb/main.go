// Ferretdb is FerretDB 1.24 on SQLite, started as mongod's image starts mongod: documents in /data/db, port 27017, and
// a root user from MONGO_INITDB_ROOT_USERNAME and MONGO_INITDB_ROOT_PASSWORD where they are set.
//
// Upstream's command needs files that its module does not carry, and upstream's embeddable package cannot ask clients
// for a password. So the parts are put together here; they are internal to FerretDB, which is why this module's path
// lies under FerretDB's. Nothing of it is published there.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/FerretDB/FerretDB/build/version"
	"github.com/FerretDB/FerretDB/internal/backends"
	"github.com/FerretDB/FerretDB/internal/backends/sqlite"
	"github.com/FerretDB/FerretDB/internal/clientconn"
	"github.com/FerretDB/FerretDB/internal/clientconn/conninfo"
	"github.com/FerretDB/FerretDB/internal/clientconn/connmetrics"
	"github.com/FerretDB/FerretDB/internal/handler"
	"github.com/FerretDB/FerretDB/internal/handler/users"
	"github.com/FerretDB/FerretDB/internal/util/iterator"
	"github.com/FerretDB/FerretDB/internal/util/password"
	"github.com/FerretDB/FerretDB/internal/util/state"
)

const (
	address = ":27017"
	folder  = "/data/db/"
	// Each statement that writes is a transaction, and its log is synced before it is acknowledged. These are the
	// defaults of FerretDB and of its SQLite; they are written down because promises rest on them.
	pragmas = "?_pragma=busy_timeout(10000)&_pragma=journal_mode(wal)&_pragma=synchronous(full)"
	// FerretDB's own table of a database's collections.
	list = "_ferretdb_collections"
)

// release is FerretDB's version; the linker sets it.
var release = "unknown"

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "ferretdb:", err)
		os.Exit(1)
	}
}

func run() error {
	name, secret := os.Getenv("MONGO_INITDB_ROOT_USERNAME"), os.Getenv("MONGO_INITDB_ROOT_PASSWORD")
	if len(os.Args) > 1 {
		return fmt.Errorf("mongod's options are not known here: %q", os.Args[1:])
	}
	if (name == "") != (secret == "") {
		return errors.New("MONGO_INITDB_ROOT_USERNAME and MONGO_INITDB_ROOT_PASSWORD go together")
	}
	version.Get().Version, version.Get().Package = release, "kindstorm"
	logger := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	provider, err := state.NewProvider("")
	if err != nil {
		return err
	}
	silent := func(s *state.State) { s.DisableTelemetry(); s.TelemetryLocked = true }
	if err := provider.Update(silent); err != nil {
		return err
	}
	if err := mendAll(folder); err != nil {
		return err
	}
	uri := "file:" + folder + pragmas
	backend, err := sqlite.NewBackend(&sqlite.NewBackendParams{URI: uri, L: logger, P: provider, BatchSize: 100})
	if err != nil {
		return err
	}
	defer backend.Close()
	if name != "" {
		if err := ensureRoot(backend, name, secret); err != nil {
			return fmt.Errorf("the root user cannot be made: %w", err)
		}
	}
	metrics := connmetrics.NewListenerMetrics()
	handles, err := handler.New(&handler.NewOpts{
		Backend:               backend,
		TCPHost:               address,
		L:                     logger,
		ConnMetrics:           metrics.ConnMetrics,
		StateProvider:         provider,
		BatchSize:             100,
		CappedCleanupInterval: time.Minute,
		EnableNewAuth:         name != "",
	})
	if err != nil {
		return err
	}
	listener, err := clientconn.Listen(&clientconn.NewListenerOpts{
		TCP:     address,
		Mode:    clientconn.NormalMode,
		Metrics: metrics,
		Handler: handles,
		Logger:  logger,
	})
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	fmt.Printf("FerretDB %s (SQLite) listens on %s; clients log in: %t\n", release, address, name != "")
	listener.Run(ctx)
	return nil
}

// ensureRoot makes the root user where there is none of any name, as mongod's image does on an empty directory: another
// name or password given later changes nothing. One insert does it, so a crash leaves the user whole or not there.
func ensureRoot(backend backends.Backend, name, secret string) error {
	info := conninfo.New()
	info.SetBypassBackendAuth()
	ctx := conninfo.Ctx(context.Background(), info)
	admin, err := backend.Database("admin")
	if err != nil {
		return err
	}
	collection, err := admin.Collection("system.users")
	if err != nil {
		return err
	}
	found, err := collection.Query(ctx, nil)
	if err != nil {
		return err
	}
	defer found.Iter.Close()
	if _, _, err = found.Iter.Next(); !errors.Is(err, iterator.ErrIteratorDone) {
		return err
	}
	return users.CreateUser(ctx, backend, &users.CreateUserParams{
		Database: "admin",
		Username: name,
		Password: password.WrapPassword(secret),
	})
}
