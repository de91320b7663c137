package main

import (
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// FerretDB makes a database, then its list of collections, then a collection's table, its entry in the list, and its
// index of _id, each in a transaction of its own. A crash between two of them leaves a server that does not start, a
// collection that can never be made, or one without a unique _id. mendAll takes away what such a crash leaves, before
// FerretDB looks. No document can be in it: the first one is stored, and acknowledged, after the last step.
func mendAll(folder string) error {
	files, err := filepath.Glob(filepath.Join(folder, "*.sqlite"))
	if err != nil {
		return err
	}
	for _, file := range files {
		whole, err := mend(file)
		if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		if whole {
			continue
		}
		fmt.Printf("%s: never finished, removed\n", file)
		for _, suffix := range []string{"", "-wal", "-shm"} {
			if err := os.Remove(file + suffix); err != nil && !errors.Is(err, os.ErrNotExist) {
				return err
			}
		}
	}
	return nil
}

// mend drops the tables of one database that belong to no finished collection; false where it has no list of them.
func mend(file string) (bool, error) {
	db, err := sql.Open("sqlite", "file:"+file+pragmas)
	if err != nil {
		return false, err
	}
	defer db.Close()
	var lists int
	if err := db.QueryRow("SELECT count(*) FROM sqlite_master WHERE name = ?", list).Scan(&lists); err != nil {
		return false, err
	}
	if lists == 0 {
		return false, nil
	}
	// An entry gets its settings last, after the index.
	if _, err := db.Exec(fmt.Sprintf("DELETE FROM %s WHERE settings = '{}'", list)); err != nil {
		return false, err
	}
	tables, err := strays(db)
	if err != nil {
		return false, err
	}
	for _, table := range tables {
		fmt.Printf("%s: %s never finished, dropped\n", file, table)
		if _, err := db.Exec(fmt.Sprintf("DROP TABLE %q", table)); err != nil {
			return false, err
		}
	}
	return true, nil
}

func strays(db *sql.DB) ([]string, error) {
	rows, err := db.Query(fmt.Sprintf(
		"SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite!_%%' ESCAPE '!' "+
			"AND name <> '%[1]s' AND name NOT IN (SELECT table_name FROM %[1]s)", list))
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var names []string
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return nil, err
		}
		names = append(names, name)
	}
	return names, rows.Err()
}
